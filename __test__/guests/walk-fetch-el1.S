// SPDX-License-Identifier: Apache-2.0 OR MIT
// As walk-el1, but EL1 calls a function through the poisoned table: an instruction abort on the walk, ELR = FAR.
#define ACCESS blr x1
#include "walk-el1.S"
