# Writes OUTPUT, a C++ file that holds the text of FILES, each under its name from TOP on (program.h: ln_sources).
set(text "#include \"program.h\"\n\nconst ln_source ln_sources[] = {\n")
foreach(file ${FILES})
  file(READ ${file} content)
  file(RELATIVE_PATH name ${TOP} ${file})
  string(APPEND text "  {\"${name}\", R\"lunette(${content})lunette\"},\n")
endforeach()
string(APPEND text "  {NULL, NULL},\n};\n")
file(WRITE ${OUTPUT} "${text}")
