// Queues and events of the pretended card. What was queued is over when the call returns, so that
// to wait costs nothing; what may not be asked for while a queue is captured is refused.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "tests/gpu/pretend_card/card.h"

using muster::pretend::card;
using muster::pretend::Mark;
using muster::pretend::Queue;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

cudaError_t open(cudaStream_t* stream, bool is_blocking) {
  const std::lock_guard lock(card().mutex);
  *stream = reinterpret_cast<cudaStream_t>(card().open_queue(is_blocking));
  return cudaSuccess;
}

cudaError_t wait_for(cudaStream_t stream, const char* call) {
  const std::lock_guard lock(card().mutex);
  if (card().is_lost()) {
    return card().answer(cudaErrorIllegalAddress);
  }
  Queue* queue = card().queue_of(stream, call);
  if (queue == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  return card().may_wait(queue, call) ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}

cudaError_t wait_for(cudaEvent_t event, const char* call) {
  const std::lock_guard lock(card().mutex);
  if (card().is_lost()) {
    return card().answer(cudaErrorIllegalAddress);
  }
  const Mark* mark = card().mark_of(event, call);
  if (mark == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  if (mark->was_captured) {
    return card().fault(cudaErrorCapturedEvent, std::string(call) + " of an event of a capture");
  }
  return cudaSuccess;
}

cudaError_t record(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(card().mutex);
  Mark* mark = card().mark_of(event, "cudaEventRecord");
  const Queue* queue = card().queue_of(stream, "cudaEventRecord");
  if (mark == nullptr || queue == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  mark->was_captured = queue->capture != nullptr;
  mark->capture = queue->capture;
  mark->tail = queue->tail;
  mark->seconds = now();
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  return open(stream, flags != cudaStreamNonBlocking);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags,
                                         int /*priority*/) {
  return open(stream, flags != cudaStreamNonBlocking);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(card().mutex);
  return card().close_queue(stream)
             ? cudaSuccess
             : card().fault(cudaErrorInvalidResourceHandle, "cudaStreamDestroy of no queue");
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return wait_for(stream, "cudaStreamSynchronize");
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return wait_for(stream, "cudaStreamQuery");
}
cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void* data,
                                  unsigned int /*flags*/) {
  const cudaError_t error = wait_for(stream, "cudaStreamAddCallback");
  if (error == cudaSuccess) {
    callback(stream, cudaSuccess, data);
  }
  return error;
}

/// An event of a capture takes the queue that waits for it into the capture.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int /*flags*/) {
  const std::lock_guard lock(card().mutex);
  Queue* queue = card().queue_of(stream, "cudaStreamWaitEvent");
  const Mark* mark = card().mark_of(event, "cudaStreamWaitEvent");
  if (queue == nullptr || mark == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  if (!mark->was_captured) {
    if (queue->capture && mark->seconds > 0) {
      queue->capture->is_broken = true;
      return card().fault(cudaErrorStreamCaptureIsolation,
                          "a captured queue waits for an event from outside of the capture");
    }
    return cudaSuccess;
  }
  const auto capture = mark->capture.lock();
  if (!capture || (queue->capture && queue->capture != capture)) {
    return card().fault(cudaErrorStreamCaptureIsolation,
                        "a queue waits for an event of a capture that is over, or another's");
  }
  queue->capture = capture;
  capture->queues.insert(queue);
  queue->tail.insert(mark->tail.begin(), mark->tail.end());
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int /*flags*/) {
  const std::lock_guard lock(card().mutex);
  *event = reinterpret_cast<cudaEvent_t>(card().open_mark());
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(card().mutex);
  return card().close_mark(event)
             ? cudaSuccess
             : card().fault(cudaErrorInvalidResourceHandle, "cudaEventDestroy of no event");
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return record(event, stream);
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream,
                                     unsigned int /*flags*/) {
  return record(event, stream);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (!card().may_be_unsafe("cudaEventQuery")) {
    return cudaErrorStreamCaptureUnsupported;
  }
  return wait_for(event, "cudaEventQuery");
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return wait_for(event, "cudaEventSynchronize");
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  const std::lock_guard lock(card().mutex);
  const Mark* first = card().mark_of(begin, "cudaEventElapsedTime");
  const Mark* last = card().mark_of(end, "cudaEventElapsedTime");
  if (first == nullptr || last == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  *milliseconds = static_cast<float>(1e3 * (last->seconds - first->seconds));
  return cudaSuccess;
}

}  // extern "C"
