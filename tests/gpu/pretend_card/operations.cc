// What torch does on the pretended card, done by torch on the CPU: the card's memory is the host's,
// so that an operation with kernels for both takes the CPU's, on the same bytes, and is queued and
// captured as the card's would be. Registered when this is loaded, which must be after
// libtorch_cuda. SPDX-License-Identifier: Apache-2.0
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tests/gpu/pretend_card/card.h"

namespace muster::pretend {
namespace {

using c10::IValue;
using Stack = torch::jit::Stack;

/// The same bytes as a tensor of the CPU; it owns nothing.
at::Tensor beside(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) {
    return tensor;
  }
  at::Tensor host = at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(),
                                  tensor.options().device(at::kCPU).requires_grad(false));
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    host.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return host;
}

/// An argument with every tensor in it replaced.
template <class Change>
IValue changed(const IValue& value, const Change& change) {
  if (value.isTensor()) {
    return change(value.toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(change(tensor));
    }
    return list;
  }
  if (value.isList() && !value.isIntList() && !value.isDoubleList() && !value.isBoolList()) {
    c10::impl::GenericList list(value.toList().elementType());
    for (const IValue& each : value.toList()) {
      list.push_back(changed(each, change));
    }
    return list;
  }
  if (value.isDevice() && value.toDevice().is_cuda()) {
    return c10::Device(at::kCPU);
  }
  return value;
}

Stack all_changed(const Stack& arguments,
                  const std::function<at::Tensor(const at::Tensor&)>& change) {
  Stack result;
  for (const IValue& argument : arguments) {
    result.push_back(changed(argument, change));
  }
  return result;
}

/// What the card's thread has switched on is not the CPU's concern.
Stack run_on_cpu(const c10::OperatorHandle& operation, Stack arguments) {
  const at::AutoDispatchBelowADInplaceOrView below;
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  operation.callBoxed(&arguments);
  return arguments;
}

/// The argument that a result is, or -1 where the result is a tensor of its own.
int argument_of(const c10::FunctionSchema& schema, std::size_t result) {
  const auto* alias = schema.returns()[result].alias_info();
  for (std::size_t i = 0; alias != nullptr && i < schema.arguments().size(); ++i) {
    const auto* other = schema.arguments()[i].alias_info();
    if (other != nullptr && other->beforeSets() == alias->beforeSets()) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

at::Tensor on_card(const at::Tensor& host) {
  return host.defined()
             ? at::empty_strided(host.sizes(), host.strides(), host.options().device(at::kCUDA))
             : host;
}

void put(const at::Tensor& host, const at::Tensor& card) {
  if (host.defined() && host.numel() > 0) {
    beside(card).copy_(host);
  }
}

void put(const IValue& from, const IValue& to) {
  if (from.isTensor()) {
    put(from.toTensor(), to.toTensor());
  } else if (from.isTensorList()) {
    const auto all = from.toTensorVector();
    const auto into = to.toTensorVector();
    for (std::size_t i = 0; i < all.size(); ++i) {
      put(all[i], into[i]);
    }
  }
}

bool draws(const c10::OperatorHandle& operation) {
  return operation.hasTag(at::Tag::nondeterministic_seeded);
}

/// The CPU's generator is one for all queues, and for who asks what a result looks like.
std::unique_lock<std::mutex> turn_to_draw(const c10::OperatorHandle& operation) {
  static std::mutex turn;
  return draws(operation) ? std::unique_lock(turn) : std::unique_lock<std::mutex>();
}

/// What random numbers a call draws: those that the generator of the card's thread would give, of
/// which a graph knows only where they will be written.
std::function<void()> numbers_of(const c10::OperatorHandle& operation) {
  if (!draws(operation)) {
    return {};
  }
  constexpr std::uint64_t more = 4;
  auto* generator =
      at::check_generator<at::CUDAGeneratorImpl>(at::cuda::detail::getDefaultCUDAGenerator());
  const std::lock_guard lock(generator->mutex_);
  const at::PhiloxCudaState state = generator->philox_cuda_state(more);
  return [state] {
    const std::uint64_t seed =
        state.captured_ ? static_cast<std::uint64_t>(*state.seed_.ptr) : state.seed_.val;
    const std::uint64_t offset =
        state.captured_ ? static_cast<std::uint64_t>(*state.offset_.ptr) + state.offset_intragraph_
                        : state.offset_.val;
    at::Generator(at::detail::getDefaultCPUGenerator()).set_current_seed(seed * 31 + offset);
  };
}

/// Arguments for one run: what the operation writes into and may resize (out=) is new each time.
Stack for_a_run(const c10::FunctionSchema& schema, Stack arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (schema.arguments()[i].is_out() && arguments[i].isTensor()) {
      arguments[i] = at::empty({0}, arguments[i].toTensor().options());
    }
  }
  return arguments;
}

/// Where each result goes: an argument that the operation changed in place is there already (-1).
std::vector<int> places_of(const c10::FunctionSchema& schema) {
  std::vector<int> places;
  for (std::size_t i = 0; i < schema.returns().size(); ++i) {
    const int argument = argument_of(schema, i);
    const bool is_in_place =
        argument >= 0 && !schema.arguments()[static_cast<std::size_t>(argument)].is_out();
    places.push_back(is_in_place ? -1 : static_cast<int>(i));
  }
  return places;
}

/// Tensors of the card for what zeros in place of the arguments give.
Stack make_results(const c10::OperatorHandle& operation, const Stack& given, const Stack& host,
                   const std::vector<int>& places) {
  const c10::FunctionSchema& schema = operation.schema();
  const Stack like =
      std::ranges::all_of(places, [](int place) { return place < 0; })
          ? Stack(places.size())
          : run_on_cpu(operation, for_a_run(schema, all_changed(host, [](const at::Tensor& tensor) {
                                              return tensor.defined() ? at::zeros_like(tensor)
                                                                      : tensor;
                                            })));
  Stack results;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const int argument = argument_of(schema, i);
    if (argument < 0) {
      results.push_back(changed(like[i], [](const at::Tensor& tensor) { return on_card(tensor); }));
      continue;
    }
    results.push_back(given[static_cast<std::size_t>(argument)]);
    if (places[i] >= 0 && results.back().toTensor().sizes() != like[i].toTensor().sizes()) {
      results.back().toTensor().resize_(like[i].toTensor().sizes());
    }
  }
  return results;
}

bool is_pinned(const at::Tensor& tensor) {
  const std::lock_guard lock(card().mutex);
  return card().piece_of(tensor.const_data_ptr(), 1) != nullptr;
}

/// What the host gives is read when the call is made, but for pinned memory.
at::Tensor as_read(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.is_cuda() || is_pinned(tensor)) {
    return beside(tensor);
  }
  at::Tensor now = tensor.detach().clone();
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    now.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return now;
}

/// Copies from and to the host wait unless that memory is pinned and they were told not to.
bool waits_for_host(const c10::FunctionSchema& schema, const Stack& given) {
  if (schema.name() != "aten::copy_") {
    return false;
  }
  const at::Tensor& to = given[0].toTensor();
  const at::Tensor& from = given[1].toTensor();
  if (to.is_cuda() && from.is_cuda()) {
    return false;
  }
  return !given[2].toBool() || (!to.is_cuda() && !is_pinned(to));
}

/// Queues the operation. Results get their memory now, from torch's allocator, and their values
/// when the queue comes to it.
void queue_operation(const c10::OperatorHandle& operation, c10::DispatchKeySet /*keys*/,
                     Stack* stack) {
  const c10::FunctionSchema& schema = operation.schema();
  const auto first = stack->end() - static_cast<std::ptrdiff_t>(schema.arguments().size());
  const Stack given(first, stack->end());
  stack->erase(first, stack->end());
  // Held by address alone: memory of a graph is the graph's, not that of who made the tensor.
  const auto alone = [](const at::Tensor& tensor) { return beside(tensor); };
  Stack host;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto* alias = schema.arguments()[i].alias_info();
    const bool is_written = alias != nullptr && alias->isWrite();
    host.push_back(is_written ? changed(given[i], alone) : changed(given[i], as_read));
  }
  const std::vector<int> places = places_of(schema);
  const Stack results = [&] {
    const auto turn = turn_to_draw(operation);
    return make_results(operation, given, host, places);
  }();
  const Stack bytes = all_changed(results, alone);
  const auto seed = numbers_of(operation);
  const cudaError_t error =
      card().add(c10::cuda::getCurrentCUDAStream().stream(), "torch " + schema.name(),
                 [operation, host, bytes, places, seed] {
                   const auto turn = turn_to_draw(operation);
                   if (seed) {
                     seed();
                   }
                   const Stack found = run_on_cpu(operation, for_a_run(operation.schema(), host));
                   for (std::size_t i = 0; i < found.size(); ++i) {
                     if (places[i] >= 0) {
                       put(found[i], bytes[i]);
                     }
                   }
                 });
  TORCH_CHECK(error == cudaSuccess, schema.name(), ": ", cudaGetErrorString(error));
  if (waits_for_host(schema, given)) {
    C10_CUDA_CHECK(cudaStreamSynchronize(c10::cuda::getCurrentCUDAStream().stream()));
  }
  stack->insert(stack->end(), results.begin(), results.end());
}

/// What makes or names memory, or reads it for the host, is the card's own.
bool is_ours(const c10::OperatorHandle& operation) {
  static const std::set<std::string> kept = {"aten::empty",
                                             "aten::empty_strided",
                                             "aten::_local_scalar_dense",
                                             "aten::as_strided",
                                             "aten::view",
                                             "aten::_reshape_alias",
                                             "aten::resize_",
                                             "aten::set_",
                                             "aten::record_stream",
                                             "aten::is_set_to",
                                             "aten::unfold",
                                             "aten::view_as_real",
                                             "aten::is_pinned",
                                             "aten::_pin_memory",
                                             "aten::_efficientzerotensor",
                                             "aten::equal",
                                             "aten::_fused_sdp_choice"};
  const std::string& name = operation.schema().name();
  if (name == "aten::copy_") {  // of one kernel for all devices
    return true;
  }
  return !kept.contains(name) && operation.hasKernelForDispatchKey(c10::DispatchKey::CPU) &&
         operation.hasKernelForDispatchKey(c10::DispatchKey::CUDA);
}

/// That kernels are overridden is what we are here for.
class Silent final : public c10::WarningHandler {
  void process(const c10::Warning& /*warning*/) override {}
};

struct Registered {
  Registered() {
    if (std::getenv("PRETEND_CARD_RUNS") != nullptr) {
      return;  // to see what would be queued: cuDNN's plans and kernels of torch's own
    }
    at::Context& context = at::globalContext();  // to operations that compute something here
    context.setUserEnabledCuDNN(false);
    context.setSDPUseCuDNN(false);
    context.setSDPUseFlash(false);
    context.setSDPUseMemEfficient(false);
    Silent silent;
    const c10::WarningUtils::WarningHandlerGuard guard(&silent);
    auto& dispatcher = c10::Dispatcher::singleton();
    for (const c10::OperatorName& name : dispatcher.getAllOpNames()) {
      const auto operation = dispatcher.findOp(name);
      if (operation && operation->hasSchema() && is_ours(*operation)) {
        all.push_back(
            dispatcher.registerImpl(name, c10::DispatchKey::CUDA,
                                    c10::KernelFunction::makeFromBoxedFunction<&queue_operation>(),
                                    std::nullopt, nullptr, "the pretended card"));
      }
    }
  }
  std::vector<c10::RegistrationHandleRAII> all;
};

[[maybe_unused]] auto* registered = new Registered;  // for the process

}  // namespace
}  // namespace muster::pretend
