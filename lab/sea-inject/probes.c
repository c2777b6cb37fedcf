// SPDX-License-Identifier: GPL-2.0
/*
 * Makes KVM see synchronous external aborts on chosen guest pages.
 *
 * Test equipment: no emulated machine routes a bus error of a KVM guest to EL2, so this module fakes the only thing that
 * is missing. A probe on kvm_handle_guest_abort() rewrites the syndrome of a genuine stage-2 fault on an armed page to
 * what the CPU reports for an uncorrected memory error there; every line that runs after it is the stock kernel's. KVM
 * never maps the page, so each access faults again until the rule is disarmed or used up.
 *
 * All here runs in kprobe context: exceptions masked, no sleeping, rules read under RCU.
 */
#include <linux/bitfield.h>
#include <linux/kprobes.h>
#include <linux/kvm_host.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <asm/esr.h>

#include "rules.h"

#define ESR_LST GENMASK_ULL(12, 11)		/* of a 64-byte load or store, where an external abort has SET */
#define HPFAR_VALID BIT_ULL(63)		/* KVM's own mark */
#define HPFAR_IPA GENMASK_ULL(47, 4)

/* Counts one hit, unless the rule is used up. */
static bool use_rule(struct rule *rule)
{
	u64 count = rule->value[COUNT];

	if (count)
		return atomic64_add_unless(&rule->hits, 1, count);
	atomic64_inc(&rule->hits);
	return true;
}

static bool wants_access(const struct rule *rule, u64 esr)
{
	bool data = ESR_ELx_EC(esr) == ESR_ELx_EC_DABT_LOW;

	if (rule->value[MODE] == MODE_LDST64B && !data)
		return false;
	switch (rule->value[KIND]) {
	case KIND_DATA:
		return data;
	case KIND_INSTRUCTION:
		return !data;
	case KIND_READ:
		return data && !(esr & ESR_ELx_WNR);
	case KIND_WRITE:
		return data && (esr & ESR_ELx_WNR);
	default:
		return true;
	}
}

static struct rule *match_abort(u64 esr, u64 far, u64 hpfar)
{
	u64 first = FIELD_GET(HPFAR_IPA, hpfar) << 12, last = first + 0xfff;
	struct rule *rule;

	/* FAR has the low bits of the IPA, but for a walk: then the IPA is the table's, and FAR the access's. */
	if (!(esr & ESR_ELx_S1PTW))
		last = first |= far & 0xfff;
	list_for_each_entry_rcu(rule, &sea_inject_rules, link) {
		if (rule->value[MODE] == MODE_CLAIM || rule->value[TGID] != current->tgid)
			continue;
		if (last < rule->value[START] || first >= rule->value[END] || !wants_access(rule, esr))
			continue;
		if (use_rule(rule))
			return rule;
	}
	return NULL;
}

static u64 sea_esr(const struct rule *rule, u64 esr)
{
	u64 ec = ESR_ELx_EC(esr);
	u64 access = esr & (ESR_ELx_CM | ESR_ELx_WNR);

	if (rule->value[AS] == AS_DATA)
		ec = ESR_ELx_EC_DABT_LOW;
	else if (rule->value[AS] == AS_INSTRUCTION)
		ec = ESR_ELx_EC_IABT_LOW;

	if (ec == ESR_ELx_EC_IABT_LOW)
		access = 0;
	else if (given(rule, CM))	/* cache maintenance always counts as a write */
		access = rule->value[CM] ? ESR_ELx_CM | ESR_ELx_WNR : access & ~ESR_ELx_CM;

	/* Everything else is zero: no instruction syndrome, no VNCR, no ISS2. IL is 1 in every abort without ISV. */
	return ec << ESR_ELx_EC_SHIFT | ESR_ELx_IL | access | FIELD_PREP(ESR_ELx_SET_MASK, rule->value[SET]) |
	       (rule->value[FNV] ? ESR_ELx_FnV : 0) | (rule->value[EA] ? ESR_ELx_EA : 0) |
	       (rule->value[S1PTW] ? ESR_ELx_S1PTW : 0) | rule->value[FSC];
}

/* A 64-byte load or store has all the syndrome of an 8-byte one, and its kind in LST. */
static u64 ldst64b_esr(const struct rule *rule, u64 esr)
{
	esr &= ~(ESR_LST | ESR_ELx_SSE | ESR_ELx_AR);
	esr |= ESR_ELx_ISV | ESR_ELx_SAS | ESR_ELx_SF | FIELD_PREP(ESR_LST, rule->value[LST]);
	if (given(rule, FSC))
		esr = (esr & ~ESR_ELx_FSC) | rule->value[FSC];
	return esr;
}

/* Runs at the first instruction of kvm_handle_guest_abort(vcpu), before KVM has read the fault. */
static int before_guest_abort(struct kprobe *probe, struct pt_regs *regs)
{
	struct kvm_vcpu *vcpu = (struct kvm_vcpu *)regs->regs[0];
	struct kvm_vcpu_fault_info *fault = &vcpu->arch.fault;
	struct rule *rule = NULL;

	atomic64_inc(&sea_inject_faults);
	rcu_read_lock();
	/* A genuine SEA may have no IPA, and is none of our business. */
	if (fault->hpfar_el2 & HPFAR_VALID)
		rule = match_abort(fault->esr_el2, fault->far_el2, fault->hpfar_el2);
	if (!rule) {
		atomic64_inc(&sea_inject_unmatched);
	} else if (rule->value[MODE] == MODE_LDST64B) {
		fault->esr_el2 = ldst64b_esr(rule, fault->esr_el2);
	} else {
		fault->esr_el2 = sea_esr(rule, fault->esr_el2);
		if (given(rule, FAR))
			fault->far_el2 = rule->value[FAR];
		if (!rule->value[GPA])
			fault->hpfar_el2 = 0;
	}
	rcu_read_unlock();
	return 0;
}
NOKPROBE_SYMBOL(before_guest_abort);

/* Runs at the first instruction of apei_claim_sea(regs). A claim returns 0 from it: "the firmware has reported this". */
static int before_claim_sea(struct kprobe *probe, struct pt_regs *regs)
{
	struct rule *rule;
	bool claimed = false;

	rcu_read_lock();
	list_for_each_entry_rcu(rule, &sea_inject_rules, link) {
		claimed = rule->value[MODE] == MODE_CLAIM && rule->value[TGID] == current->tgid && use_rule(rule);
		if (claimed)
			break;
	}
	rcu_read_unlock();
	if (!claimed)
		return 0;
	regs->regs[0] = 0;
	instruction_pointer_set(regs, regs->regs[30]);	/* not signed yet */
	return 1;
}
NOKPROBE_SYMBOL(before_claim_sea);

static struct kprobe guest_abort_probe = {
	.symbol_name = "kvm_handle_guest_abort",
	.pre_handler = before_guest_abort,
};

static struct kprobe claim_sea_probe = {
	.symbol_name = "apei_claim_sea",
	.pre_handler = before_claim_sea,
};

static struct kprobe *probes[] = { &guest_abort_probe, &claim_sea_probe };

int sea_inject_start_probes(void)
{
	return register_kprobes(probes, ARRAY_SIZE(probes));
}

void sea_inject_stop_probes(void)
{
	unregister_kprobes(probes, ARRAY_SIZE(probes));
}
