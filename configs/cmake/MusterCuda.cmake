# The CUDA toolkit and NCCL, as MUSTER_WITH_CUDA says. Sets MUSTER_HAS_CUDA, MUSTER_CUDA_VERSION, MUSTER_NCCL_VERSION and, where
# there is a toolkit, the target muster_cuda_toolkit (runtime, NCCL's header, the GPU half of libtorch). GPU code of ours goes into
# one module, libmuster_cuda.so, by muster_cuda_module(); programs open it only when they find a driver.
set(MUSTER_HAS_CUDA OFF)
set(MUSTER_CUDA_VERSION "")
set(MUSTER_NCCL_VERSION "")
set(_cuda_missing "")

function(_muster_nccl_version header)
  foreach(_part MAJOR MINOR PATCH)
    file(STRINGS ${header} _line REGEX "^#define NCCL_${_part} [0-9]+" LIMIT_COUNT 1)
    string(REGEX MATCH "[0-9]+" _${_part} "${_line}")
  endforeach()
  set(MUSTER_NCCL_VERSION "${_MAJOR}.${_MINOR}.${_PATCH}" PARENT_SCOPE)
endfunction()

if(NOT MUSTER_WITH_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 12 QUIET)
  find_path(MUSTER_NCCL_INCLUDE nccl.h
    HINTS ${CUDAToolkit_INCLUDE_DIRS} ${MusterTorch_ROOT}/../nvidia/nccl/include $ENV{NCCL_ROOT}/include $ENV{NCCL_HOME}/include)
  find_library(MUSTER_TORCH_CUDA_LIBRARY torch_cuda HINTS ${MusterTorch_ROOT}/lib NO_DEFAULT_PATH)
  find_library(MUSTER_C10_CUDA_LIBRARY c10_cuda HINTS ${MusterTorch_ROOT}/lib NO_DEFAULT_PATH)
  if(NOT CUDAToolkit_FOUND)
    string(APPEND _cuda_missing "\n  the CUDA toolkit 12 or later: install cuda-toolkit, or set CUDAToolkit_ROOT")
  endif()
  if(NOT MUSTER_NCCL_INCLUDE)
    string(APPEND _cuda_missing "\n  nccl.h: install libnccl-dev, or set NCCL_ROOT")
  endif()
  if(NOT MUSTER_TORCH_CUDA_LIBRARY OR NOT MUSTER_C10_CUDA_LIBRARY)
    string(APPEND _cuda_missing "\n  the GPU half of libtorch (libtorch_cuda.so): MUSTER_TORCH names a libtorch for CPUs only")
  endif()
  if(_cuda_missing AND MUSTER_WITH_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MUSTER_WITH_CUDA=ON, and these are missing:${_cuda_missing}\nMUSTER_WITH_CUDA=AUTO builds without them.")
  endif()
  if(MUSTER_NCCL_INCLUDE)
    _muster_nccl_version(${MUSTER_NCCL_INCLUDE}/nccl.h)
  endif()
  if(CUDAToolkit_FOUND)
    set(MUSTER_CUDA_VERSION "${CUDAToolkit_VERSION}")
  endif()
  if(NOT _cuda_missing)
    set(MUSTER_HAS_CUDA ON)
    add_library(muster_cuda_toolkit INTERFACE IMPORTED GLOBAL)
    target_include_directories(muster_cuda_toolkit SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} ${MUSTER_NCCL_INCLUDE})
    target_link_libraries(muster_cuda_toolkit INTERFACE CUDA::cudart muster_torch ${MUSTER_TORCH_CUDA_LIBRARY} ${MUSTER_C10_CUDA_LIBRARY})
  endif()
endif()

# muster_cuda_kernels(objects source..): .cu files as object files, their paths in `objects`. Cards from Ampere on; newer ones than this
# toolkit knows compile the last architecture's portable code when they start. nvcc is called as it is: CMake's CUDA language would
# be asked for, and looked for, in builds for CPUs as well.
function(muster_cuda_kernels objects)
  set(_all "")
  foreach(source ${ARGN})
    set(_object ${CMAKE_CURRENT_BINARY_DIR}/${source}.o)
    add_custom_command(OUTPUT ${_object}
      COMMAND ${MUSTER_CCACHE} ${CUDAToolkit_NVCC_EXECUTABLE} -ccbin ${CMAKE_CXX_COMPILER} -std=c++20 -O3 -lineinfo
              --expt-relaxed-constexpr -Xcompiler -fPIC -gencode arch=compute_80,code=sm_80
              -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90
              -I${CMAKE_SOURCE_DIR} -MD -MF ${_object}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${_object}
      DEPENDS ${source} DEPFILE ${_object}.d COMMENT "Building CUDA object ${source}.o" VERBATIM)
    list(APPEND _all ${_object})
  endforeach()
  set(${objects} ${_all} PARENT_SCOPE)
endfunction()

# muster_cuda_module(SOURCES .. [USES ..]): libmuster_cuda.so, where there is a toolkit. Compiles and links without a GPU; what the
# GPU half of libtorch itself needs (cuDNN and so on) is looked for when the module is opened.
function(muster_cuda_module)
  cmake_parse_arguments(arg "" "" "SOURCES;USES" ${ARGN})
  if(NOT MUSTER_HAS_CUDA)
    return()
  endif()
  add_library(muster_cuda MODULE ${arg_SOURCES})
  target_link_libraries(muster_cuda PRIVATE muster_flags muster_warnings muster_cuda_toolkit ${arg_USES})
  target_link_options(muster_cuda PRIVATE -Wl,--unresolved-symbols=ignore-in-shared-libs)
  install(TARGETS muster_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()
