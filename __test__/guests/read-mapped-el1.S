// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads from the poisoned page with the MMU on, 1 GiB above where the page is, and not aligned.
#define FOURTH_ENTRY (2 * GIB | BLOCK | NORMAL)
#define REPORT_ACCESS
#define ADDRESS (VIRTUAL + POISON_PAGE - RAM_BASE + 0xbad)
#include "walk-el1.S"
