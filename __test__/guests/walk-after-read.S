// SPDX-License-Identifier: Apache-2.0 OR MIT
// As walk-el1, but EL1 loads from the table before it loads through it: the load consumes the error, the walk comes later.
#define BEFORE load x2, POISON_DATA; ldr x2, [x2]
#include "walk-el1.S"
