/* SPDX-License-Identifier: GPL-2.0 */
/* What the control file writes and the probes read. */
#ifndef SEA_INJECT_RULES_H
#define SEA_INJECT_RULES_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/list.h>
#include <linux/types.h>

enum field { ID, TGID, START, END, MODE, FSC, SET, LST, FNV, EA, GPA, KIND, AS, CM, FAR, S1PTW, COUNT, FIELDS };

enum mode { MODE_SEA, MODE_LDST64B, MODE_CLAIM };
enum kind { KIND_ANY, KIND_DATA, KIND_INSTRUCTION, KIND_READ, KIND_WRITE };
enum as { AS_KEEP, AS_DATA, AS_INSTRUCTION };

struct control;

/* Never changes once the probes can see it, but for the hits. */
struct rule {
	struct list_head link;
	struct rcu_head rcu;
	const struct control *owner;
	atomic64_t hits;
	u64 value[FIELDS];
	u32 given;	/* BIT(field) for each field the command named */
};

/* In the order of arming: the earliest that matches wins. Read under RCU. */
extern struct list_head sea_inject_rules;

extern atomic64_t sea_inject_faults;	/* stage-2 faults the probe saw */
extern atomic64_t sea_inject_unmatched;	/* those that no rule wanted */

static inline bool given(const struct rule *rule, enum field field)
{
	return rule->given & BIT(field);
}

/* Whether FSC says: on a walk of the stage-1 tables. */
static inline bool is_walk(u64 fsc)
{
	return (fsc >= 0x13 && fsc <= 0x17) || (fsc >= 0x1b && fsc <= 0x1f);
}

int sea_inject_start_probes(void);
void sea_inject_stop_probes(void);

#endif
