// The pretended device: what it says of itself, in the measures of an H200.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/gpu/pretend_card/card.h"

using muster::pretend::card;

namespace {

bool is_withheld() {
  const char* lacks = std::getenv("PRETEND_CARD_LACKS");
  const char* rank = std::getenv("RANK");
  return lacks != nullptr && rank != nullptr && std::strcmp(lacks, rank) == 0;
}

/// The numbers of the cards that are there and visible, in the order of CUDA_VISIBLE_DEVICES:
/// PRETEND_CARD_COUNT of them, or 1. All have one memory. None for the rank that PRETEND_CARD_LACKS
/// names, of those that on_card.sh starts.
std::vector<int> visible_devices() {
  const char* count = std::getenv("PRETEND_CARD_COUNT");
  const int all = is_withheld() ? 0 : count == nullptr ? 1 : std::atoi(count);
  std::vector<int> list;
  const char* words = std::getenv("CUDA_VISIBLE_DEVICES");
  if (words == nullptr) {
    list.resize(static_cast<std::size_t>(all));
    std::iota(list.begin(), list.end(), 0);
    return list;
  }
  std::istringstream stream(words);
  for (std::string word; std::getline(stream, word, ',');) {
    char* end = nullptr;
    const long number = std::strtol(word.c_str(), &end, 10);
    if (end == word.c_str() || number < 0 || number >= all) {
      break;
    }
    if (std::ranges::find(list, number) != list.end()) {
      return {};
    }
    list.push_back(static_cast<int>(number));
  }
  return list;
}

const std::vector<int>& devices() {
  static const std::vector<int> visible = visible_devices();
  return visible;
}

int device_count() {
  return static_cast<int>(devices().size());
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device_count();
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaGetDevice(int* device) {
  *device = muster::pretend::current_device();
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) {
    return card().fault(cudaErrorInvalidDevice, "cudaSetDevice of a device that is not there");
  }
  muster::pretend::current_device() = device;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* of, int /*device*/) {
  *of = {};
  std::strcpy(of->name, "a pretended card");
  of->totalGlobalMem = muster::pretend::Card::memory_bytes();
  of->sharedMemPerBlock = 49152;
  of->sharedMemPerBlockOptin = 232448;
  of->sharedMemPerMultiprocessor = 233472;
  of->reservedSharedMemPerBlock = 1024;
  of->regsPerBlock = of->regsPerMultiprocessor = 65536;
  of->warpSize = 32;
  of->memPitch = 2147483647;
  of->maxThreadsPerBlock = 1024;
  of->maxThreadsDim[0] = of->maxThreadsDim[1] = 1024;
  of->maxThreadsDim[2] = 64;
  of->maxGridSize[0] = 2147483647;
  of->maxGridSize[1] = of->maxGridSize[2] = 65535;
  of->totalConstMem = 65536;
  of->major = 9;
  of->minor = 0;
  of->textureAlignment = 512;
  of->texturePitchAlignment = 32;
  of->multiProcessorCount = 132;
  of->canMapHostMemory = of->concurrentKernels = of->unifiedAddressing = 1;
  of->asyncEngineCount = 3;
  of->memoryBusWidth = 6144;
  of->l2CacheSize = 62914560;
  of->persistingL2CacheMaxSize = 39321600;
  of->maxThreadsPerMultiProcessor = 2048;
  of->maxBlocksPerMultiProcessor = 32;
  of->streamPrioritiesSupported = of->managedMemory = of->cooperativeLaunch = 1;
  of->hostRegisterSupported = of->memoryPoolsSupported = of->clusterLaunch = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp all;
  cudaGetDeviceProperties(&all, device);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = all.maxThreadsPerBlock;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = all.multiProcessorCount;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(all.sharedMemPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(all.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(all.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = all.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = all.maxBlocksPerMultiProcessor;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
      *value = all.regsPerBlock;
      break;
    case cudaDevAttrWarpSize:
      *value = all.warpSize;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = all.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = all.minor;
      break;
    case cudaDevAttrL2CacheSize:
      *value = all.l2CacheSize;
      break;
    case cudaDevAttrMaxGridDimX:
      *value = all.maxGridSize[0];
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = all.maxGridSize[1];
      break;
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      *value = all.maxThreadsDim[0];
      break;
    case cudaDevAttrTextureAlignment:
      *value = static_cast<int>(all.textureAlignment);
      break;
    default:
      card().note("attribute " + std::to_string(static_cast<int>(attribute)) + " is taken for 0");
      *value = 0;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  std::snprintf(text, static_cast<std::size_t>(length), "0000:%02x:00.0",
                devices().at(static_cast<std::size_t>(device)));
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int /*device*/, int /*peer*/) {
  *can = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  if (!card().may_wait_for_all("cudaDeviceSynchronize")) {
    return cudaErrorStreamCaptureUnsupported;
  }
  for (const auto& place : card().ends()) {
    place.wait();
  }
  return card().is_lost() ? card().answer(cudaErrorIllegalAddress) : cudaSuccess;
}

cudaError_t cudaGetLastError() {
  return std::exchange(muster::pretend::last_error(), cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return muster::pretend::last_error();
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess ? "cudaSuccess" : "an error of the pretended card";
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnjoined:
      return "capturing stream has unjoined work";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorInvalidValue:
      return "invalid argument";
    default:
      return "an error of the pretended card";
  }
}

/// The driver behind this runtime has no entry points: who asks has to do without.
cudaError_t cudaGetDriverEntryPointByVersion(const char* /*symbol*/, void** found,
                                             unsigned int /*version*/, unsigned long long /*flags*/,
                                             cudaDriverEntryPointQueryResult* result) {
  *found = nullptr;
  if (result != nullptr) {
    *result = cudaDriverEntryPointSymbolNotFound;
  }
  return cudaSuccess;
}

}  // extern "C"
