// Memory of the pretended card: pages of the host, given out and checked, and what is copied and
// set. SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <vector>

#include "tests/gpu/pretend_card/card.h"

using muster::pretend::card;
using muster::pretend::Piece;

namespace {

cudaError_t give(void** data, std::size_t bytes, bool is_device, const char* call) {
  const std::lock_guard lock(card().mutex);
  if (!card().may_be_unsafe(call)) {
    return cudaErrorStreamCaptureUnsupported;
  }
  *data = bytes == 0 ? nullptr : card().give(bytes, is_device);
  card().note(std::string(call) + " of " + std::to_string(bytes));
  return bytes == 0 || *data != nullptr ? cudaSuccess : card().answer(cudaErrorMemoryAllocation);
}

/// Waits for all queues, as the driver does.
cudaError_t take_back(void* data, bool is_device, const char* call) {
  if (data == nullptr) {
    return cudaSuccess;
  }
  for (const auto& place : card().ends()) {
    place.wait();
  }
  const std::lock_guard lock(card().mutex);
  if (card().is_lost()) {
    return card().answer(cudaErrorIllegalAddress);
  }
  if (!card().may_be_unsafe(call)) {
    return cudaErrorStreamCaptureUnsupported;
  }
  card().note(call);
  return card().take_back(data, is_device)
             ? cudaSuccess
             : card().fault(cudaErrorInvalidValue,
                            std::string(call) + " of what was not allocated, or is free");
}

bool is_pageable(const void* data) {
  const std::lock_guard lock(card().mutex);
  return card().piece_of(data, 1) == nullptr;
}

/// Pageable memory of the host is read before this returns, and written before too.
cudaError_t copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream,
                 const char* call) {
  if (bytes == 0) {
    return cudaSuccess;
  }
  if (!card().may_touch(to, bytes, call) || !card().may_touch(from, bytes, call)) {
    return cudaErrorInvalidValue;
  }
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cudaStreamIsCapturing(stream, &status);
  const bool waits = status == cudaStreamCaptureStatusNone;
  if (!waits && (is_pageable(from) || is_pageable(to))) {
    return card().fault(cudaErrorStreamCaptureUnsupported,
                        std::string(call) + " of pageable memory during a capture");
  }
  const std::string what = "copy <" + std::to_string(bytes) + ">";
  if (waits && is_pageable(from)) {
    const auto* begin = static_cast<const char*>(from);
    const std::vector<char> read(begin, begin + bytes);
    return card().add(stream, what, [=] { std::memcpy(to, read.data(), bytes); });
  }
  const cudaError_t error = card().add(stream, what, [=] { std::memcpy(to, from, bytes); });
  return error == cudaSuccess && waits && is_pageable(to) ? cudaStreamSynchronize(stream) : error;
}

cudaError_t set(void* to, int value, std::size_t bytes, cudaStream_t stream, const char* call) {
  if (bytes == 0) {
    return cudaSuccess;
  }
  if (card().piece_of(to, bytes) == nullptr) {
    return card().fault(cudaErrorInvalidValue, std::string(call) + " of memory of the host");
  }
  return card().add(stream, "set <" + std::to_string(bytes) + ">",
                    [=] { std::memset(to, value, bytes); });
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  return give(data, bytes, true, "cudaMalloc");
}
cudaError_t cudaFree(void* data) {
  return take_back(data, true, "cudaFree");
}
cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned int /*flags*/) {
  return give(data, bytes, false, "cudaHostAlloc");
}
cudaError_t cudaFreeHost(void* data) {
  return take_back(data, false, "cudaFreeHost");
}
cudaError_t cudaHostRegister(void* data, std::size_t bytes, unsigned int /*flags*/) {
  if (!card().may_be_unsafe("cudaHostRegister")) {
    return cudaErrorStreamCaptureUnsupported;
  }
  card().enlist(data, bytes);
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* data) {
  if (!card().may_be_unsafe("cudaHostUnregister")) {
    return cudaErrorStreamCaptureUnsupported;
  }
  return card().strike(data) ? cudaSuccess
                             : card().fault(cudaErrorHostMemoryNotRegistered,
                                            "cudaHostUnregister of what was not registered");
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  if (card().is_lost()) {
    return card().answer(cudaErrorIllegalAddress);
  }
  *total = muster::pretend::Card::memory_bytes();
  *free = *total - card().used();
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* of, const void* data) {
  const std::lock_guard lock(card().mutex);
  *of = {};
  const Piece* piece = card().piece_of(data, 1);
  of->type = piece == nullptr   ? cudaMemoryTypeUnregistered
             : piece->is_device ? cudaMemoryTypeDevice
                                : cudaMemoryTypeHost;
  of->device = piece == nullptr ? 0 : piece->device;
  of->devicePointer = piece == nullptr ? nullptr : const_cast<void*>(data);
  of->hostPointer = piece != nullptr && !piece->is_device ? const_cast<void*>(data) : nullptr;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind /*kind*/,
                            cudaStream_t stream) {
  return copy(to, from, bytes, stream, "cudaMemcpyAsync");
}
cudaError_t cudaMemcpyPeerAsync(void* to, int /*to_device*/, const void* from, int /*from_device*/,
                                std::size_t bytes, cudaStream_t stream) {
  return copy(to, from, bytes, stream, "cudaMemcpyPeerAsync");
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind /*kind*/) {
  if (!card().may_be_unsafe("cudaMemcpy")) {
    return cudaErrorStreamCaptureUnsupported;
  }
  const cudaError_t error = copy(to, from, bytes, nullptr, "cudaMemcpy");
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return set(to, value, bytes, stream, "cudaMemsetAsync");
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return set(to, value, bytes, nullptr, "cudaMemset");
}

}  // extern "C"
