// muster: the command line. Light on purpose: it links neither libtorch nor MPI.
// SPDX-License-Identifier: Apache-2.0
#include "launcher/cli/command.h"
#include "launcher/commands.h"

int main(int count, char** words) {
  return muster::run_command(muster::commands(), {words + 1, words + count});
}
