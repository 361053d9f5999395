/// The CPU twins of our kernels: the same bodies, run by a team of one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/gpu/jobs.h"

namespace muster::host_kernels {

void run(const PackJob& job);
void run(const NormJob& job);
void run(const DecideJob& job);
void run(const UpdateJob& job);
void run(const OrderJob& job);
void run(const GatherJob& job);
void run(const CrossEntropyJob& job);
void run(const AddNormJob& job);
void run(const AddNormBackwardJob& job);
void run(const ImageNormJob& job);
void run(const ImageNormBackwardJob& job);
void run(const DropoutJob& job);
void run(const PackNormJob& job);
void run(const BiasBackwardJob& job);
void run(const PoolJob& job);
void run(const PoolBackwardJob& job);
void run(const GeluJob& job);

}  // namespace muster::host_kernels
