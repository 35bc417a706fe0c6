//! How the streams of a drawn job run: one line, or two sources that meet, a branch that meets itself again, a second sink,
//! perhaps in a region of its own.
//!
//! What must come out is the same for every shape, so one oracle judges them all. Drawn apart from the rest of the
//! scenario, so that a seed keeps its faults whatever shapes there are.

use forebay_engine::Bounds;

use crate::random::Random;

/// Steps and ends of a job beside its model.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Half of the files are a source of their own.
    pub two_sources: bool,
    /// Rows go two ways, by whether their number is even, and meet again.
    pub branch: bool,
    /// Rows also go to a sink of their own, before the model sees them.
    pub plain: bool,
    /// That sink is in a region of its own, behind a durable edge.
    pub cut: Option<Cut>,
    /// How much its queues hold.
    pub bounds: Bounds,
}

/// The durable edge before the second sink, or before a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    CommitRead,
    IdDedupe,
}

/// Folder of the second sink below the first one's.
pub(crate) const PLAIN: &str = "_plain/";

// === impl Cut ===

impl Cut {
    /// The setting of the step.
    pub fn text(self) -> String {
        let mode = match self {
            Self::CommitRead => "commit_read",
            Self::IdDedupe => "id_dedupe",
        };
        format!("durable = {{ mode = \"{mode}\" }}")
    }
}

// === impl Shape ===

impl Shape {
    /// What `seed` draws.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed, "shape");
        let (two_sources, branch, plain) = (random.chance(300), random.chance(300), random.chance(300));
        let mode = random.pick(&[Cut::CommitRead, Cut::IdDedupe]);
        let cut = random.chance(600).then_some(mode).filter(|_| plain);
        let mut random = Random::new(seed, "bounds");
        let mut bounds = Bounds::default();
        if random.chance(300) {
            bounds.window.rows = random.within(1, 16) as usize;
        }
        if random.chance(500) {
            bounds.quota_max = random.within(1_000, 8_000);
        }
        Self { two_sources, branch, plain, cut, bounds }
    }

    /// The sections of the sources, of `batch_rows` each.
    pub fn sources(&self, batch_rows: u64) -> String {
        let source = |name: &str, files: &str| {
            format!("[source.{name}]\nformat = \"jsonl\"\npath = \"in/{files}.jsonl\"\nbatch_rows = {batch_rows}\n\n")
        };
        match self.two_sources {
            false => source("source", "*"),
            true => source("source", "0{0,2,4,6,8}") + &source("more", "0{1,3,5,7}"),
        }
    }

    /// The steps before the model's, and the uid of what it reads.
    pub fn steps(&self, filter: bool, doubled: bool) -> (String, String) {
        let (mut text, mut last) = (String::new(), "source".to_string());
        let mut step = |uid: &str, from: Option<&str>, what: &str| {
            let from = from.map(|from| format!("from = \"{from}\"\n")).unwrap_or_default();
            text.push_str(&format!("[[step]]\nuid = \"{uid}\"\n{from}{what}\n\n"));
            uid.to_string()
        };
        if self.two_sources {
            last = step("met", None, "union = [\"source\", \"more\"]");
        }
        if filter {
            last = step("kept", Some(&last), "filter = \"n % 3 <> 0\"");
        }
        if doubled {
            last = step("wide", Some(&last), "with = [\"n * 2 AS doubled\"]");
        }
        if self.branch {
            step("even", Some(&last), "filter = \"n % 2 = 0\"");
            step("odd", Some(&last), "filter = \"n % 2 = 1\"");
            last = step("again", None, "union = [\"even\", \"odd\"]");
        }
        if let Some(cut) = self.cut {
            step("cut", Some(&last), &cut.text());
        }
        (text, last)
    }

    /// The sections of the sinks and of dead letters; `before` is what the model reads, `others` whether there are more sinks.
    pub fn sinks(&self, before: &str, others: bool, file_bytes: u64, parallelism: u16) -> String {
        let sink = |name: &str, more: &str| {
            format!(
                "[sink.{name}]\nformat = \"jsonl\"\npath = \"out{more}\"\nfile_bytes = \"{file_bytes}B\"\nparallelism = {parallelism}\n"
            )
        };
        let before = if self.cut.is_some() { "cut" } else { before };
        let plain = match self.plain {
            false => String::new(),
            true => format!("{}from = \"{before}\"\n\n", sink("plain", &format!("/{}", PLAIN.trim_end_matches('/')))),
        };
        // With one sink they have a folder by default.
        let letters = match self.plain || others {
            false => "",
            true => "\n[dead_letters]\npath = \"out/_dead_letters\"\n",
        };
        format!("{plain}{}{letters}", sink("sink", ""))
    }
}
