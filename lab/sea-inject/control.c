// SPDX-License-Identifier: GPL-2.0
/* /dev/sea-inject: text commands arm and disarm the rules of one open file; reading shows them. See README.md. */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rculist.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "rules.h"

#define MAX_RULES 64
#define MAX_COMMANDS_LENGTH 8192

static const char *const mode_words[] = { "sea", "ldst64b", "claim", NULL };
static const char *const kind_words[] = { "any", "data", "instruction", "read", "write", NULL };
static const char *const as_words[] = { "keep", "data", "instruction", NULL };

static const struct {
	const char *name;
	u64 max;
	const char *const *words;	/* the value is an index of these, or a number if NULL */
	bool hex;
} fields[FIELDS] = {
	[ID] = { "id", U32_MAX },
	[TGID] = { "tgid", INT_MAX },
	[START] = { "start", U64_MAX, .hex = true },
	[END] = { "end", U64_MAX, .hex = true },
	[MODE] = { "mode", MODE_LDST64B, mode_words },
	[FSC] = { "fsc", 0x3f, .hex = true },
	[SET] = { "set", 3 },
	[LST] = { "lst", 3 },
	[FNV] = { "fnv", 1 },
	[EA] = { "ea", 1 },
	[GPA] = { "gpa", 1 },
	[KIND] = { "kind", KIND_WRITE, kind_words },
	[AS] = { "as", AS_INSTRUCTION, as_words },
	[CM] = { "cm", 1 },
	[FAR] = { "far", U64_MAX, .hex = true },
	[S1PTW] = { "s1ptw", 1 },
	[COUNT] = { "count", LONG_MAX },
};

/* One open file. */
struct control {
	char reason[160];	/* why the last write was refused, or empty */
};

LIST_HEAD(sea_inject_rules);
atomic64_t sea_inject_faults;
atomic64_t sea_inject_unmatched;

static unsigned int rule_count;
static DEFINE_MUTEX(rules_lock);	/* writers of rules, and every control */

__printf(2, 3) static int refuse(struct control *control, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vscnprintf(control->reason, sizeof(control->reason), format, args);
	va_end(args);
	return -EINVAL;
}

static int parse_field(struct control *control, struct rule *rule, char *token)
{
	char *text = strchr(token, '=');
	enum field field;
	int index;

	if (!text)
		return refuse(control, "Expected name=value but received %s", token);
	*text++ = '\0';
	for (field = 0; field < FIELDS && strcmp(fields[field].name, token); field++)
		;
	if (field == FIELDS)
		return refuse(control, "Expected a known field but received %s", token);
	if (given(rule, field))
		return refuse(control, "Expected %s once but received it twice", token);
	rule->given |= BIT(field);
	if (fields[field].words) {
		index = match_string(fields[field].words, fields[field].max + 1, text);
		if (index < 0)
			return refuse(control, "Expected a word this field has for %s but received %s", token, text);
		rule->value[field] = index;
	} else if (kstrtou64(text, 0, &rule->value[field]) || rule->value[field] > fields[field].max) {
		return refuse(control, "Expected a number up to %#llx for %s but received %s",
			      fields[field].max, token, text);
	}
	return 0;
}

static int parse_fields(struct control *control, struct rule *rule, char *line)
{
	char *token;
	int error;

	while ((token = strsep(&line, " \t"))) {
		error = *token ? parse_field(control, rule, token) : 0;
		if (error)
			return error;
	}
	return 0;
}

static struct rule *find_rule(const struct control *control, u64 id)
{
	struct rule *rule;

	list_for_each_entry(rule, &sea_inject_rules, link)
		if (rule->owner == control && rule->value[ID] == id)
			return rule;
	return NULL;
}

static void disarm(struct rule *rule)
{
	list_del_rcu(&rule->link);
	rule_count--;
	kfree_rcu(rule, rcu);
}

static void disarm_all(const struct control *control)
{
	struct rule *rule, *next;

	list_for_each_entry_safe(rule, next, &sea_inject_rules, link)
		if (rule->owner == control)
			disarm(rule);
}

/* Whether the CPU reports the IPA of such an abort to the hypervisor. */
static bool hardware_knows_gpa(const struct rule *rule)
{
	u64 fsc = rule->value[FSC];

	return !is_walk(fsc) && !(fsc == 0x10 && rule->value[FNV]);
}

/* Fills in the defaults, and refuses what no CPU reports. */
static int check_rule(struct control *control, struct rule *rule)
{
	const u32 sea_only = BIT(SET) | BIT(FNV) | BIT(EA) | BIT(GPA) | BIT(AS) | BIT(CM) | BIT(FAR) | BIT(S1PTW);
	const u32 claim_fields = BIT(ID) | BIT(TGID) | BIT(COUNT);
	u64 *value = rule->value;

	if (!given(rule, ID) || !given(rule, TGID))
		return refuse(control, "Expected id and tgid");
	if (find_rule(control, value[ID]))
		return refuse(control, "Expected a free id but received id=%llu", value[ID]);
	if (rule_count == MAX_RULES)
		return refuse(control, "Expected at most %d rules", MAX_RULES);
	if (value[MODE] == MODE_CLAIM)
		return rule->given & ~claim_fields ? refuse(control, "Expected id, tgid and count alone for claim") : 0;
	if (!given(rule, START) || !given(rule, END) || value[START] >= value[END])
		return refuse(control, "Expected start below end");
	if (value[MODE] == MODE_LDST64B) {
		if (!given(rule, LST))
			value[LST] = 2;
		if (!value[LST])
			return refuse(control, "Expected lst=1..3: 0 is an ordinary access");
		if (given(rule, FSC) && (value[FSC] < 0x04 || value[FSC] > 0x0f))
			return refuse(control, "Expected fsc=0x04..0x0f for ldst64b but received %#llx", value[FSC]);
		return rule->given & sea_only ? refuse(control, "Expected no field of mode=sea for ldst64b") : 0;
	}
	if (!given(rule, FSC))
		value[FSC] = 0x10;
	if (value[FSC] != 0x10 && value[FSC] != 0x18 && !is_walk(value[FSC]))
		return refuse(control, "Expected fsc=0x10, 0x13..0x18 or 0x1b..0x1f but received %#llx", value[FSC]);
	if (given(rule, LST))
		return refuse(control, "Expected lst for ldst64b alone");
	if (value[S1PTW] && !is_walk(value[FSC]))
		return refuse(control, "Expected s1ptw=1 with the fsc of a table walk alone");
	if (value[CM] && (value[AS] == AS_INSTRUCTION || value[KIND] == KIND_INSTRUCTION))
		return refuse(control, "Expected cm=1 for a data abort alone");
	if (!given(rule, GPA))
		value[GPA] = hardware_knows_gpa(rule);
	if (value[GPA] && !hardware_knows_gpa(rule))
		return refuse(control, "Expected gpa=0: no CPU reports an IPA with fsc=%#llx fnv=%llu",
			      value[FSC], value[FNV]);
	return 0;
}

static int arm(struct control *control, char *line, bool claim)
{
	struct rule *rule = kzalloc(sizeof(*rule), GFP_KERNEL);
	int error;

	if (!rule)
		return -ENOMEM;
	rule->owner = control;
	error = parse_fields(control, rule, line);
	if (claim)
		rule->value[MODE] = MODE_CLAIM;
	if (!error)
		error = check_rule(control, rule);
	if (error) {
		kfree(rule);
		return error;
	}
	list_add_tail_rcu(&rule->link, &sea_inject_rules);
	rule_count++;
	return 0;
}

static int disarm_line(struct control *control, char *line)
{
	struct rule wanted = {}, *rule;
	int error;

	if (line && !strcmp(strim(line), "all")) {
		disarm_all(control);
		return 0;
	}
	error = parse_fields(control, &wanted, line);
	if (error)
		return error;
	if (wanted.given != BIT(ID))
		return refuse(control, "Expected disarm id=<n> or disarm all");
	rule = find_rule(control, wanted.value[ID]);
	if (!rule)
		return refuse(control, "Expected an armed rule but received id=%llu", wanted.value[ID]);
	disarm(rule);
	return 0;
}

static int run_line(struct control *control, char *line)
{
	char *verb = strsep(&line, " \t");

	if (!strcmp(verb, "arm"))
		return arm(control, line, false);
	if (!strcmp(verb, "claim"))
		return arm(control, line, true);
	if (!strcmp(verb, "disarm"))
		return disarm_line(control, line);
	return refuse(control, "Expected arm, claim or disarm but received %s", verb);
}

static ssize_t control_write(struct file *file, const char __user *from, size_t length, loff_t *position)
{
	struct control *control = ((struct seq_file *)file->private_data)->private;
	char *commands, *rest, *line;
	int error = 0;

	if (length > MAX_COMMANDS_LENGTH)
		return -E2BIG;
	commands = memdup_user_nul(from, length);
	if (IS_ERR(commands))
		return PTR_ERR(commands);
	mutex_lock(&rules_lock);
	control->reason[0] = '\0';
	for (rest = commands; !error && (line = strsep(&rest, "\n"));) {
		line = strim(line);
		error = *line ? run_line(control, line) : 0;
	}
	mutex_unlock(&rules_lock);
	kfree(commands);
	*position = 0;
	return error ? error : length;
}

static void show_rule(struct seq_file *to, const struct rule *rule)
{
	enum field field;

	seq_puts(to, "rule");
	for (field = 0; field < FIELDS; field++) {
		u64 value = rule->value[field];

		if (!given(rule, field) && !value && field != MODE)
			continue;
		if (fields[field].words)
			seq_printf(to, " %s=%s", fields[field].name, fields[field].words[value]);
		else
			seq_printf(to, fields[field].hex ? " %s=%#llx" : " %s=%llu", fields[field].name, value);
	}
	seq_printf(to, " hits=%lld\n", atomic64_read(&rule->hits));
}

static int control_show(struct seq_file *to, void *unused)
{
	const struct control *control = to->private;
	const struct rule *rule;

	mutex_lock(&rules_lock);
	if (control->reason[0])
		seq_printf(to, "error %s\n", control->reason);
	list_for_each_entry(rule, &sea_inject_rules, link)
		if (rule->owner == control)
			show_rule(to, rule);
	seq_printf(to, "total rules=%u faults=%lld unmatched=%lld\n", rule_count, atomic64_read(&sea_inject_faults),
		   atomic64_read(&sea_inject_unmatched));
	mutex_unlock(&rules_lock);
	return 0;
}

/* After the end of the text the next read begins anew. */
static ssize_t control_read(struct file *file, char __user *to, size_t length, loff_t *position)
{
	ssize_t done = seq_read(file, to, length, position);

	if (!done && length)
		*position = 0;
	return done;
}

static int control_open(struct inode *inode, struct file *file)
{
	struct control *control = kzalloc(sizeof(*control), GFP_KERNEL);
	int error;

	if (!control)
		return -ENOMEM;
	file->private_data = NULL;	/* misc_open() left the miscdevice there, single_open() wants it empty */
	error = single_open(file, control_show, control);
	if (error)
		kfree(control);
	return error;
}

/* A test that crashed leaves no rule behind. */
static int control_release(struct inode *inode, struct file *file)
{
	struct control *control = ((struct seq_file *)file->private_data)->private;

	mutex_lock(&rules_lock);
	disarm_all(control);
	mutex_unlock(&rules_lock);
	kfree(control);
	return single_release(inode, file);
}

static const struct file_operations control_operations = {
	.owner = THIS_MODULE,
	.open = control_open,
	.read = control_read,
	.write = control_write,
	.llseek = seq_lseek,
	.release = control_release,
};

static struct miscdevice control_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sea-inject",
	.mode = 0666,
	.fops = &control_operations,
};

static int __init sea_inject_init(void)
{
	int error = sea_inject_start_probes();

	if (error)
		return error;
	error = misc_register(&control_device);
	if (error)
		sea_inject_stop_probes();
	return error;
}
module_init(sea_inject_init);

static void __exit sea_inject_exit(void)
{
	misc_deregister(&control_device);
	sea_inject_stop_probes();
}
module_exit(sea_inject_exit);

MODULE_DESCRIPTION("Makes KVM see synchronous external aborts on chosen guest pages");
MODULE_LICENSE("GPL");
