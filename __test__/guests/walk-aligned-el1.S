// SPDX-License-Identifier: Apache-2.0 OR MIT
// As walk-el1, with the load at an address where a vector table could have an entry.
#define ALIGNMENT 128
#include "walk-el1.S"
