/* internal.h - all that the folders of lib/ share. Kernels and Lua never see it. */
#ifndef LUNETTE_INTERNAL_H
#define LUNETTE_INTERNAL_H

#include "graph.h"

#endif
