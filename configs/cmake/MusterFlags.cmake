# The compiler and what it is told. Flags travel on the target muster_flags; nothing is set globally.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)  # libtorch stays where it is
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG" CACHE STRING "" FORCE)
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -D_GLIBCXX_ASSERTIONS" CACHE STRING "" FORCE)

find_program(MUSTER_CCACHE ccache)
if(MUSTER_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # hash_dir off and a base directory: clones of this repository share what they compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_NOHASHDIR=1
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_SLOPPINESS=pch_defines,time_macros ${MUSTER_CCACHE})
endif()

add_library(muster_flags INTERFACE)
target_compile_features(muster_flags INTERFACE cxx_std_20)
target_include_directories(muster_flags INTERFACE
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/muster>)
add_library(muster_warnings INTERFACE)
target_compile_options(muster_warnings INTERFACE
  -Wall -Wextra -Wno-missing-field-initializers -Wconversion -Wshadow -Wnon-virtual-dtor -Werror -Wno-error=deprecated-declarations -pthread)
target_link_options(muster_warnings INTERFACE -pthread)
if(CMAKE_UNITY_BUILD)  # what is local to a file looks like a header's to the compiler
  target_compile_options(muster_warnings INTERFACE -Wno-subobject-linkage)
endif()
find_program(MUSTER_MOLD mold)
if(MUSTER_MOLD)
  target_link_options(muster_warnings INTERFACE -fuse-ld=mold)
endif()
if(MUSTER_SANITIZE)
  target_compile_options(muster_warnings INTERFACE -fsanitize=${MUSTER_SANITIZE} -fno-omit-frame-pointer
    -Wno-maybe-uninitialized)  # beside a sanitizer GCC 12 says it of <regex>
  target_link_options(muster_warnings INTERFACE -fsanitize=${MUSTER_SANITIZE})
  if(MUSTER_SANITIZE MATCHES undefined)
    target_compile_options(muster_warnings INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()
