// What torch's compiler makes of a linear layer, written by hand: the functions that a package's
// code answers to. With LINEAR_STEP it takes weight, buffer, features, labels and weights a sample,
// and gives the loss and the gradient; without, it takes the first three and gives the outputs.
// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <torch/csrc/inductor/aoti_runtime/interface.h>

#include <vector>

namespace {

std::vector<at::Tensor> results(const std::vector<at::Tensor>& inputs) {
  const at::Tensor outputs = at::matmul(inputs[2], inputs[0].t());
#ifdef LINEAR_STEP
  const at::Tensor labels = inputs[3];
  const at::Tensor weights = inputs[4].unsqueeze(1);
  const at::Tensor wanted = at::one_hot(labels, outputs.size(1)).to(at::kFloat);
  const at::Tensor loss = -(at::log_softmax(outputs, 1) * wanted * weights).sum();
  const at::Tensor slopes = (at::softmax(outputs, 1) - wanted) * weights;
  return {loss, at::matmul(slopes.t(), inputs[2])};
#else
  return {outputs};
#endif
}

/// Handles of tensors are pointers to them; those of inputs are given away.
at::Tensor taken(AtenTensorHandle handle) {
  auto* tensor = reinterpret_cast<at::Tensor*>(handle);
  const at::Tensor value = *tensor;
  delete tensor;
  return value;
}

}  // namespace

extern "C" {

AOTIRuntimeError AOTInductorModelContainerCreateWithDevice(AOTInductorModelContainerHandle* handle,
                                                           size_t, const char*, const char*) {
  *handle = reinterpret_cast<AOTInductorModelContainerHandle>(new int(0));
  return AOTI_RUNTIME_SUCCESS;
}

AOTIRuntimeError AOTInductorModelContainerDelete(AOTInductorModelContainerHandle handle) {
  delete reinterpret_cast<int*>(handle);
  return AOTI_RUNTIME_SUCCESS;
}

AOTIRuntimeError AOTInductorModelContainerRunSingleThreaded(AOTInductorModelContainerHandle,
                                                            AtenTensorHandle* inputs, size_t count,
                                                            AtenTensorHandle* outputs, size_t,
                                                            AOTInductorStreamHandle,
                                                            AOTIProxyExecutorHandle) {
  std::vector<at::Tensor> given;
  for (size_t i = 0; i < count; ++i) {
    given.push_back(taken(inputs[i]));
  }
  for (const at::Tensor& result : results(given)) {
    *outputs++ = reinterpret_cast<AtenTensorHandle>(new at::Tensor(result));
  }
  return AOTI_RUNTIME_SUCCESS;
}

AOTIRuntimeError AOTInductorModelContainerGetNumOutputs(AOTInductorModelContainerHandle,
                                                        size_t* count) {
#ifdef LINEAR_STEP
  *count = 2;
#else
  *count = 1;
#endif
  return AOTI_RUNTIME_SUCCESS;
}

AOTIRuntimeError AOTInductorModelContainerGetNumConstants(AOTInductorModelContainerHandle,
                                                          size_t* count) {
  *count = 0;
  return AOTI_RUNTIME_SUCCESS;
}

AOTIRuntimeError AOTInductorModelContainerGetCallSpec(AOTInductorModelContainerHandle,
                                                      const char** in, const char** out) {
  *in = "";
  *out = "";
  return AOTI_RUNTIME_SUCCESS;
}

// Asked for when it is opened, and never called: there are no constants.
AOTIRuntimeError AOTInductorModelContainerGetConstantName(AOTInductorModelContainerHandle, size_t,
                                                          const char**) {
  return AOTI_RUNTIME_FAILURE;
}
AOTIRuntimeError AOTInductorModelContainerGetConstantOriginalFQN(AOTInductorModelContainerHandle,
                                                                 size_t, const char**) {
  return AOTI_RUNTIME_FAILURE;
}
AOTIRuntimeError AOTInductorModelContainerGetConstantDtype(AOTInductorModelContainerHandle, size_t,
                                                           int32_t*) {
  return AOTI_RUNTIME_FAILURE;
}
AOTIRuntimeError AOTInductorModelContainerUpdateConstantBuffer(AOTInductorModelContainerHandle,
                                                               AOTInductorConstantMapHandle, bool,
                                                               bool) {
  return AOTI_RUNTIME_FAILURE;
}
AOTIRuntimeError AOTInductorModelContainerUpdateInactiveConstantBuffer(
    AOTInductorModelContainerHandle, AOTInductorConstantMapHandle) {
  return AOTI_RUNTIME_FAILURE;
}
AOTIRuntimeError AOTInductorModelContainerRunConstantFolding(AOTInductorModelContainerHandle, bool,
                                                             AOTInductorStreamHandle,
                                                             AOTIProxyExecutorHandle) {
  return AOTI_RUNTIME_FAILURE;
}
AOTIRuntimeError AOTInductorModelContainerSwapConstantBuffer(AOTInductorModelContainerHandle) {
  return AOTI_RUNTIME_FAILURE;
}
}
