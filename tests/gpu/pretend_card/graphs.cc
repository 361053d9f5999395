// Captures and graphs of the pretended card.
// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/pretend_card/card.h"

using muster::pretend::Capture;
using muster::pretend::card;
using muster::pretend::Line;
using muster::pretend::Queue;
using muster::pretend::Recording;
using muster::pretend::Step;

namespace muster::pretend {

std::vector<const Step*> Recording::some_order(std::minstd_rand& random) const {
  std::vector<std::size_t> before(steps.size());  // of each, those that are still to come
  std::vector<std::vector<std::size_t>> behind(steps.size());
  std::vector<std::size_t> ready;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    before[i] = steps[i].after.size();
    for (const std::size_t other : steps[i].after) {
      behind[other].push_back(i);
    }
    if (before[i] == 0) {
      ready.push_back(i);
    }
  }
  std::vector<const Step*> order;
  while (!ready.empty()) {
    std::swap(ready[random() % ready.size()], ready.back());
    const std::size_t next = ready.back();
    ready.pop_back();
    order.push_back(&steps[next]);
    for (const std::size_t other : behind[next]) {
      if (--before[other] == 0) {
        ready.push_back(other);
      }
    }
  }
  return order;
}

}  // namespace muster::pretend

namespace {

/// cudaGraphExec_t: queues that still play it keep it.
using Playable = std::shared_ptr<const Recording>;

thread_local cudaStreamCaptureMode mode_of_thread = cudaStreamCaptureModeGlobal;

/// Steps that no other waits for: all of them must be what the first queue ends with.
bool is_joined(const Recording& recording, const std::set<std::size_t>& tail) {
  std::set<std::size_t> ends;
  for (std::size_t i = 0; i < recording.steps.size(); ++i) {
    ends.insert(i);
    for (const std::size_t before : recording.steps[i].after) {
      ends.erase(before);
    }
  }
  return std::includes(tail.begin(), tail.end(), ends.begin(), ends.end());
}

}  // namespace

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const std::lock_guard lock(card().mutex);
  Queue* queue = card().queue_of(stream, "cudaStreamBeginCapture");
  if (queue == nullptr || queue->number == 0) {
    return card().fault(cudaErrorStreamCaptureUnsupported, "a capture of the default queue");
  }
  if (queue->capture) {
    return card().fault(cudaErrorIllegalState, "a capture of a queue that is captured already");
  }
  auto capture = std::make_shared<Capture>();
  capture->id = card().next_capture++;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->origin = queue;
  capture->queues.insert(queue);
  queue->capture = capture;
  queue->tail.clear();
  card().capturing[capture->thread] = capture;
  card().note("capture " + std::to_string(capture->id) + " of queue " +
              std::to_string(queue->number));
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(card().mutex);
  *graph = nullptr;
  Queue* queue = card().queue_of(stream, "cudaStreamEndCapture");
  if (queue == nullptr || !queue->capture || queue->capture->origin != queue) {
    return card().fault(cudaErrorIllegalState, "the end of a capture that did not begin here");
  }
  if (queue->capture->mode != cudaStreamCaptureModeRelaxed &&
      queue->capture->thread != std::this_thread::get_id()) {
    return card().fault(cudaErrorStreamCaptureWrongThread, "a capture ended by another thread");
  }
  const std::shared_ptr<Capture> capture = queue->capture;
  const bool joined = is_joined(capture->recording, queue->tail);
  for (Queue* each : capture->queues) {
    each->capture.reset();
    each->tail.clear();
  }
  card().capturing.erase(capture->thread);
  card().note("end of capture " + std::to_string(capture->id) + ", " +
              std::to_string(capture->recording.steps.size()) + " steps");
  if (capture->is_broken) {
    return card().answer(cudaErrorStreamCaptureInvalidated);
  }
  if (!joined) {
    return card().fault(cudaErrorStreamCaptureUnjoined, "a capture with work that nobody joined");
  }
  *graph = reinterpret_cast<cudaGraph_t>(new Recording(capture->recording));
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const std::lock_guard lock(card().mutex);
  const Queue* queue = card().queue_of(stream, "cudaStreamIsCapturing");
  if (queue == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  *status = !queue->capture             ? cudaStreamCaptureStatusNone
            : queue->capture->is_broken ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long* id, cudaGraph_t* graph,
                                     const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, std::size_t* count) {
  const std::lock_guard lock(card().mutex);
  const cudaError_t error = cudaStreamIsCapturing(stream, status);
  if (error != cudaSuccess) {
    return error;
  }
  const Queue* queue = card().queue_of(stream, "cudaStreamGetCaptureInfo");
  if (id != nullptr && queue->capture) {
    *id = queue->capture->id;
  }
  if (graph != nullptr) {
    *graph = queue->capture ? reinterpret_cast<cudaGraph_t>(&queue->capture->recording) : nullptr;
  }
  if (dependencies != nullptr || edges != nullptr || count != nullptr) {
    return card().fault(cudaErrorNotSupported, "what a capture depends on is not told here");
  }
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  const std::lock_guard lock(card().mutex);
  std::swap(*mode, mode_of_thread);
  const auto own = card().capturing.find(std::this_thread::get_id());
  if (own != card().capturing.end()) {
    own->second->mode = mode_of_thread;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long /*flags*/) {
  *exec = reinterpret_cast<cudaGraphExec_t>(
      new Playable(std::make_shared<Recording>(*reinterpret_cast<Recording*>(graph))));
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete reinterpret_cast<Recording*>(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete reinterpret_cast<Playable*>(exec);
  return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (nodes != nullptr) {
    return card().fault(cudaErrorNotSupported, "nodes of a graph are counted here, not given");
  }
  *count = reinterpret_cast<Recording*>(graph)->steps.size();
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const Playable recording = *reinterpret_cast<Playable*>(exec);
  const cudaError_t error = card().add(stream, "a graph", [recording] {
    thread_local std::minstd_rand random(static_cast<unsigned>(Line::seed()));
    for (const Step* step : recording->some_order(random)) {
      if (step->work) {
        step->work();
      }
    }
  });
  const std::lock_guard lock(card().mutex);
  for (const Step& step : recording->steps) {
    card().counts[step.what] += error == cudaSuccess ? 1 : 0;
  }
  return error;
}

}  // extern "C"
