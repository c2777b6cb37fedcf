use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const PAGE: u64 = 0x8028_6000;
const DATA: u64 = 0;
const IER: u64 = 1;
const LSR: u64 = 5;

/// The line to an agent, as the guest's driver has it: with the receive interrupt.
struct Bench {
    channel: AgentChannel,
    wakes: Arc<AtomicU64>,
    edges: Arc<Edges>,
}

#[derive(Debug, Default)]
struct Edges(AtomicU64);

impl InterruptLine for Edges {
    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bench {
    fn new() -> Self {
        let (wakes, edges) = (Arc::new(AtomicU64::new(0)), Arc::new(Edges::default()));
        let counted = Arc::clone(&wakes);
        let wake = Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let line: Arc<dyn InterruptLine> = Arc::<Edges>::clone(&edges);
        let bench = Self {
            channel: AgentChannel::new(Some(line), wake),
            wakes,
            edges,
        };
        bench.channel.write(IER, &[1]);
        bench
    }

    fn say(&self, text: &str) {
        for byte in text.bytes() {
            self.channel.write(DATA, &[byte]);
        }
    }

    fn hear(&self) -> String {
        let mut heard = String::new();
        while self.channel.read(LSR, 1) & 1 != 0 {
            heard.push(char::from(self.channel.read(DATA, 1)));
        }
        heard
    }

    fn lose(&self, page: u64) {
        self.channel.lose((Gpa::from_bits(page), 4096), None);
        self.channel.advance();
    }

    fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::SeqCst)
    }
}

#[test]
fn a_page_goes_out_and_its_answer_wakes() {
    let bench = Bench::new();
    bench.say("hello 1\n");
    assert_eq!(bench.wakes(), 1);
    bench.channel.advance();
    assert_eq!(bench.hear(), "\n");
    let edges = bench.edges.0.load(Ordering::SeqCst);
    bench.lose(PAGE);
    assert!(bench.edges.0.load(Ordering::SeqCst) > edges);
    assert_eq!(bench.hear(), "retire 0x80286000\n");
    bench.say("retired 0x80286000 0\n");
    assert_eq!(bench.wakes(), 2);
    assert_eq!(bench.channel.told_of(Gpa::from_bits(PAGE)), Some(Some(true)));
}

#[test]
fn whoever_says_much_wakes_once_until_somebody_has_looked() {
    let bench = Bench::new();
    for _ in 0..100 {
        bench.say("hello 1\n");
    }
    assert_eq!(bench.wakes(), 1);
    bench.channel.advance();
    bench.say("nothing\nretired 0x80286000 0\n");
    assert_eq!(bench.wakes(), 1, "nothing was said that matters");
    bench.say("hello 1\n");
    assert_eq!(bench.wakes(), 2);
}

#[test]
fn a_new_agent_reads_nothing_that_was_for_the_last_one() {
    let bench = Bench::new();
    bench.say("hello 1\n");
    bench.channel.advance();
    bench.lose(PAGE);
    for _ in 0.."\nretire".len() {
        bench.channel.read(DATA, 1);
    }
    bench.say("hello 1\n");
    bench.channel.advance();
    assert_eq!(bench.hear(), "\nretire 0x80286000\n");
}

#[test]
fn a_guest_that_answers_and_never_reads_fills_the_uart_and_nothing_else() {
    let bench = Bench::new();
    bench.say("hello 1\n");
    for page in (0..100).map(|page| PAGE + page * 4096) {
        bench.lose(page);
        bench.say(&format!("retired {page:#x} 0\n"));
    }
    assert!(bench.hear().len() <= 256);
    assert!(bench.channel.is_retired(Gpa::from_bits(PAGE), 100 * 4096));
    bench.say("hello 1\n");
    bench.lose(PAGE + 100 * 4096);
    assert_eq!(
        bench.hear(),
        "\nretire 0x802ea000\n",
        "it is heard again when it begins anew"
    );
}

#[test]
fn a_reset_leaves_nothing_on_the_line() {
    let bench = Bench::new();
    bench.say("hello 1\n");
    bench.lose(PAGE);
    bench.say("hel");
    bench.channel.reset();
    bench.channel.write(IER, &[1]);
    assert_eq!(bench.hear(), "");
    bench.say("lo 1\n");
    assert_eq!(bench.wakes(), 1);
    bench.say("hello 1\n");
    assert_eq!(bench.wakes(), 2);
}
