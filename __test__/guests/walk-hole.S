// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads through a stage-1 table that lies where nothing is: KVM itself injects the abort on the walk, no exit.
#define REPORT_ACCESS
#define LEVEL2_TABLE HOLE
#include "walk-el1.S"
