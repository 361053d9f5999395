# The CPU half of libtorch, as the target muster::torch. The wheel's own TorchConfig.cmake is not used: in a CUDA build it asks
# for a CUDA toolkit and links libtorch_cuda. Looked for in MUSTER_TORCH (a folder that holds lib/libtorch_cpu.so), in
# CMAKE_PREFIX_PATH, and where ./bootstrap unpacks the wheel.
set(_cache "$ENV{XDG_CACHE_HOME}")
if(NOT _cache)
  set(_cache "$ENV{HOME}/.cache")
endif()
set(MUSTER_TORCH "$ENV{MUSTER_TORCH}" CACHE PATH "A libtorch: the folder that holds include/ and lib/")
# A build folder outlives what it found: another libtorch may be asked for by now, or this one be gone.
if(NOT "$ENV{MUSTER_TORCH}" STREQUAL "" AND NOT "$ENV{MUSTER_TORCH}" STREQUAL "${MusterTorch_ASKED}")
  if(DEFINED CACHE{MusterTorch_CPU_LIBRARY})
    set_property(CACHE MUSTER_TORCH PROPERTY VALUE "$ENV{MUSTER_TORCH}")
    set(_look_again TRUE)
  endif()
  set(MusterTorch_ASKED "$ENV{MUSTER_TORCH}" CACHE INTERNAL "MUSTER_TORCH of the environment, when last it was set")
endif()
if(_look_again OR NOT EXISTS "${MusterTorch_CPU_LIBRARY}" OR NOT EXISTS "${MusterTorch_INCLUDE_DIR}")
  foreach(_found MusterTorch_CPU_LIBRARY MusterTorch_C10_LIBRARY MusterTorch_INCLUDE_DIR MUSTER_TORCH_CUDA_LIBRARY MUSTER_C10_CUDA_LIBRARY)
    unset(${_found} CACHE)
  endforeach()
endif()
find_library(MusterTorch_CPU_LIBRARY torch_cpu
  HINTS ${MUSTER_TORCH}/lib ${MUSTER_TORCH}/torch/lib PATH_SUFFIXES lib torch/lib
  PATHS ${_cache}/muster/torch-2.11.0/torch/lib)
find_library(MusterTorch_C10_LIBRARY c10
  HINTS ${MUSTER_TORCH}/lib ${MUSTER_TORCH}/torch/lib PATH_SUFFIXES lib torch/lib
  PATHS ${_cache}/muster/torch-2.11.0/torch/lib)
if(MusterTorch_CPU_LIBRARY)
  get_filename_component(MusterTorch_ROOT ${MusterTorch_CPU_LIBRARY} DIRECTORY)
  get_filename_component(MusterTorch_ROOT ${MusterTorch_ROOT} DIRECTORY)
  find_path(MusterTorch_INCLUDE_DIR torch/script.h HINTS ${MusterTorch_ROOT}/include NO_DEFAULT_PATH)
  file(STRINGS ${MusterTorch_INCLUDE_DIR}/torch/headeronly/version.h _lines REGEX "TORCH_VERSION_[MP][A-Z]+ [0-9]")
  string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" MusterTorch_VERSION "${_lines}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MusterTorch
  REQUIRED_VARS MusterTorch_CPU_LIBRARY MusterTorch_C10_LIBRARY MusterTorch_INCLUDE_DIR
  VERSION_VAR MusterTorch_VERSION
  REASON_FAILURE_MESSAGE "./bootstrap build fetches it, or set MUSTER_TORCH to a libtorch")
if(MusterTorch_FOUND AND NOT TARGET muster_torch)
  add_library(muster_torch INTERFACE IMPORTED GLOBAL)  # imported: an installed Muster looks for it again
  add_library(muster::torch ALIAS muster_torch)
  target_include_directories(muster_torch SYSTEM INTERFACE
    ${MusterTorch_INCLUDE_DIR} ${MusterTorch_INCLUDE_DIR}/torch/csrc/api/include)
  # Its own fmt stands before the system's in what includes it, and no library of that version is there to link. The two meet in
  # one program, each in an inline namespace of its own.
  target_compile_definitions(muster_torch INTERFACE FMT_HEADER_ONLY)
  target_link_libraries(muster_torch INTERFACE ${MusterTorch_CPU_LIBRARY} ${MusterTorch_C10_LIBRARY})
endif()
