/// The launches of our kernels, for cuda_gpu.cc: *_kernels.cu know no torch, and the rest
/// no kernels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/gpu/jobs.h"

namespace muster::cuda {

void launch(const PackJob& job, cudaStream_t stream);
void launch(const NormJob& job, cudaStream_t stream);
void launch(const DecideJob& job, cudaStream_t stream);
void launch(const UpdateJob& job, cudaStream_t stream);
void launch(const OrderJob& job, cudaStream_t stream);
void launch(const GatherJob& job, cudaStream_t stream);
void launch(const CrossEntropyJob& job, cudaStream_t stream);
void launch(const AddNormJob& job, cudaStream_t stream);
void launch(const AddNormBackwardJob& job, cudaStream_t stream);
void launch(const ImageNormJob& job, cudaStream_t stream);
void launch(const ImageNormBackwardJob& job, cudaStream_t stream);
void launch(const DropoutJob& job, cudaStream_t stream);
void launch(const PackNormJob& job, cudaStream_t stream);
void launch(const BiasBackwardJob& job, cudaStream_t stream);
void launch(const PoolJob& job, cudaStream_t stream);
void launch(const PoolBackwardJob& job, cudaStream_t stream);
void launch(const GeluJob& job, cudaStream_t stream);

}  // namespace muster::cuda
