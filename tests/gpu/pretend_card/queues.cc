// Queues and events of the pretended card. What may not be asked for while a queue is captured is
// refused.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "tests/gpu/pretend_card/card.h"

using muster::pretend::card;
using muster::pretend::Mark;
using muster::pretend::Place;
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

/// Not ready is an answer, and remembered as an error is.
cudaError_t look_at(const Place& place, bool waits) {
  if (waits) {
    place.wait();
  } else if (!place.is_reached()) {
    place.want();
    return card().answer(cudaErrorNotReady);
  }
  const std::lock_guard lock(card().mutex);
  return card().is_lost() ? card().answer(cudaErrorIllegalAddress) : cudaSuccess;
}

cudaError_t look_at(cudaStream_t stream, const char* call, bool waits) {
  Place end;
  {
    const std::lock_guard lock(card().mutex);
    Queue* queue = card().queue_of(stream, call);
    if (queue == nullptr) {
      return cudaErrorInvalidResourceHandle;
    }
    if (!card().may_wait(queue, call)) {
      return cudaErrorStreamCaptureUnsupported;
    }
    end = queue->line->end();
  }
  return look_at(end, waits);
}

cudaError_t look_at(cudaEvent_t event, const char* call, bool waits) {
  Place place;
  {
    const std::lock_guard lock(card().mutex);
    const Mark* mark = card().mark_of(event, call);
    if (mark == nullptr) {
      return cudaErrorInvalidResourceHandle;
    }
    if (mark->was_captured) {
      return card().fault(cudaErrorCapturedEvent, std::string(call) + " of an event of a capture");
    }
    place = mark->place;
  }
  return look_at(place, waits);
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
  if (!queue->capture) {
    mark->seconds = std::make_shared<std::atomic<double>>(0);
    queue->line->add([seconds = mark->seconds] { *seconds = now(); });
    mark->place = queue->line->end();
  }
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
  return look_at(stream, "cudaStreamSynchronize", true);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return look_at(stream, "cudaStreamQuery", false);
}
cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void* data,
                                  unsigned int /*flags*/) {
  return card().add(stream, "a callback", [=] { callback(stream, cudaSuccess, data); });
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
    if (queue->capture && mark->place.line) {
      queue->capture->is_broken = true;
      return card().fault(cudaErrorStreamCaptureIsolation,
                          "a captured queue waits for an event from outside of the capture");
    }
    queue->line->add_wait(mark->place);
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
  return look_at(event, "cudaEventQuery", false);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return look_at(event, "cudaEventSynchronize", true);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  const std::lock_guard lock(card().mutex);
  const Mark* first = card().mark_of(begin, "cudaEventElapsedTime");
  const Mark* last = card().mark_of(end, "cudaEventElapsedTime");
  if (first == nullptr || last == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  if (!first->seconds || !last->seconds) {
    return card().answer(cudaErrorInvalidResourceHandle);
  }
  if (*first->seconds == 0 || *last->seconds == 0) {
    return card().answer(cudaErrorNotReady);
  }
  *milliseconds = static_cast<float>(1e3 * (*last->seconds - *first->seconds));
  return cudaSuccess;
}

}  // extern "C"
