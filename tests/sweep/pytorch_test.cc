// Ordinary PyTorch scripts, which know nothing of Muster, under `muster run` and as trials of
// `muster tune`. Skipped where the peers' Python is not there (./bootstrap peers makes it).
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "tests/support/python.h"
#include "tests/sweep/sweep_shop.h"

namespace muster::test {
namespace {

using testing::HasSubstr;

constexpr const char* training = R"py(
import argparse, os, torch
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR", "."))
args = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(256, 8)
y = (x.sum(1) > 0).long()
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
for epoch in range(args.epochs):
    for rows in torch.randperm(256).split(args.batch_size):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    print(f"epoch {epoch} acc={(model(x).argmax(1) == y).float().mean().item():.4f}", flush=True)
torch.save(model.state_dict(), os.path.join(args.model_dir, "model.pth"))
)py";

constexpr const char* distributed = R"py(
import torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(total)
print(f"rank {dist.get_rank()} of {dist.get_world_size()} has {total.item():.0f}", flush=True)
dist.destroy_process_group()
)py";

class PyTorch : public testing::Test {
 protected:
  void SetUp() override {
    python_ = python_with("torch").value_or("");
    if (python_.empty()) {
      GTEST_SKIP() << "no Python with torch: ./bootstrap peers makes one";
    }
    shop_.write("train.py", training);
    shop_.write("together.py", distributed);
  }
  SweepShop shop_;
  std::string python_;
};

TEST_F(PyTorch, AnOrdinaryScriptRunsUnchanged) {
  Running run(shop_.path(), {"run", "--name=plain", "--", python_, "train.py", "--epochs", "3"});
  EXPECT_EQ(run.wait(120), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("epoch 2 acc="));
  EXPECT_TRUE(posix_file_system().exists(shop_.path() / "runs/plain/model/model.pth"));
}

TEST_F(PyTorch, TheSameScriptIsATrial) {
  shop_.sweep("max_trials = 2\nmin_resource = 2\nmax_resource = 2\nresource = epochs\n",
              "lr = log 0.01 1\nbatch-size = choice 16 32\n",
              "command = " + python_ + " train.py\nmetric.acc = acc=([0-9.]+)\n");
  auto sweep = shop_.start("torch", {"--tune.objective=max acc"});
  EXPECT_EQ(sweep.wait(120), 0) << sweep.output();
  EXPECT_THAT(shop_.table("torch"), HasSubstr(",complete,"));
  EXPECT_FALSE(shop_.file("torch", "best/model/model.pth").empty());
  EXPECT_THAT(shop_.file("torch", "trials/0001/log/rank-0.log"), HasSubstr("epoch 1 acc="));
}

TEST_F(PyTorch, RanksOfTorchDistributedFindEachOther) {
  Running run(shop_.path(), {"run", "--ranks=2", "--name=both", "--", python_, "together.py"});
  EXPECT_EQ(run.wait(120), 0) << run.output();
  EXPECT_THAT(read_file(shop_.path() / "runs/both/log/rank-1.log"), HasSubstr("rank 1 of 2 has 3"));
}

}  // namespace
}  // namespace muster::test
