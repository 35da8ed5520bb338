/* table.c - the kernels of one compute type and instruction set, collected into a table. */
#include "../../cpu.h"

extern const ln_cpu_typed LN_FN(ln_cpu_table);
const ln_cpu_typed LN_FN(ln_cpu_table) = {
  .load = LN_FN(load),
  .store = LN_FN(store),
  .load_rows = LN_FN(load_rows),
  .store_rows = LN_FN(store_rows),
#define KERNEL(name, arguments, types) LN_IF_OWN_##types(.name = LN_FN(name), )
#include "../../../kernels.def"
};
