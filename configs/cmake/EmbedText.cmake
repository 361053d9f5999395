# Writes a C++ file that defines string_views from files: cmake -DOUTPUT=f -DHEADER=h -DTEXTS="name=a.js+b.js;.." -P EmbedText.cmake
set(text "// Made from the files below; edit those.\n#include \"${HEADER}\"\n\nnamespace muster {\n\n")
foreach(item IN LISTS TEXTS)
  string(REGEX MATCH "^([^=]+)=(.*)$" _ "${item}")
  set(name ${CMAKE_MATCH_1})
  string(REPLACE "+" ";" files "${CMAKE_MATCH_2}")
  set(content "")
  foreach(file IN LISTS files)
    file(READ ${file} part HEX)
    string(APPEND content ${part})
  endforeach()
  # Numbers rather than a literal: any text of any length.
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${content}")
  string(APPEND text "namespace {\nconst unsigned char ${name}_bytes[] = {${bytes}0};\n}  // namespace\n"
    "const std::string_view ${name}(reinterpret_cast<const char*>(${name}_bytes), sizeof ${name}_bytes - 1);\n\n")
endforeach()
string(APPEND text "}  // namespace muster\n")
file(WRITE ${OUTPUT} "${text}")
