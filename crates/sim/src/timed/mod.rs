//! What of a drawn job has event time: clicks with a watermark, a window over them, a join of them with a second stream,
//! a process function, rows kept of each key, labels of predictions, steps that take rows one by one, and a model that is asked
//! about rows which are also taken back.
//!
//! It runs beside the rest of the job, under the same barriers, crashes and restarts at other parallelisms. What must come out
//! hangs on which rows are late, so a seed draws how rows lie in its files ([`Order`]): where the promise of the watermark
//! holds, no row is late and the output is what nested loops over all rows give. Where it does not hold, rows may be late after
//! one restart and in time after another; they then leave by the side outputs, and output and side outputs together are
//! what nested loops give. Drawn apart from the rest of the scenario, so that a seed keeps its faults whatever it draws here.

mod check;
mod feedback;
mod join;
mod keyed;
mod opinion;
mod part;
mod rows;
mod sessions;
mod text;
mod window;

pub(crate) use check::check_timed;
pub(crate) use opinion::NAME as OPINION_MODEL;
pub(crate) use sessions::components;

use std::time::Duration;

use crate::random::Random;
use crate::scenario::Job;
use crate::shape::Cut;

use join::JoinStep;
use opinion::{OPINION, OpinionStep};
use part::{BEST, FEW, JUDGED, JUDGED_LATE, JUDGED_LATE_LABELS, ONCE, ONCE_LATE, PARTS, Part, QUALITY, SOME, TWIN};
use sessions::SessionsStep;
use text::{FILE_TIME, line};
use window::WindowStep;

/// A row of one of the two sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Click {
    /// Unique in its source.
    pub id: u64,
    pub key: u64,
    pub n: u64,
    /// Microseconds since the day began.
    pub at: i64,
}

/// How rows lie in the files of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Files follow each other in time, and rows are as far out of order as promised.
    InTurn,
    /// All files cover all of the time, and rows of one file are as far out of order as promised.
    Whole,
    /// All files cover all of the time although they are said to follow each other, and the promise is too short.
    Loose,
}

/// What is in a second region, with all that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    Window,
    Opinion,
}

/// The part of a job that has event time.
#[derive(Debug, Clone)]
pub(crate) struct Timed {
    pub order: Order,
    pub clicks: Vec<Click>,
    /// Rows of the joined source.
    pub views: Vec<Click>,
    pub window: Option<WindowStep>,
    /// A region of its own, behind a durable edge.
    pub cut: Option<(Behind, Cut)>,
    pub join: Option<JoinStep>,
    pub sessions: Option<SessionsStep>,
    pub part: Option<Part>,
    pub opinion: Option<OpinionStep>,
    /// Most bytes of state in memory, if not the default.
    pub state_memory: Option<u64>,
    /// How long a read of a file takes at most.
    pub far_max: Duration,
    out_of_order_ms: u64,
    /// Whether each source has one reader, whatever the job's parallelism.
    one_reader: bool,
    files: u64,
}

/// What the folders of sinks in a second region are in.
pub(crate) const BEHIND: &str = "_behind/";

/// Uid and folder of each sink of this part.
pub(crate) const SINKS: [(&str, &str); 19] = [
    ("win_out", "_win/"),
    ("win_late", "_win_late/"),
    ("pair_out", "_pair/"),
    ("pair_late", "_pair_late/"),
    ("pair_late_stream", "_pair_late_stream/"),
    ("ses_out", "_ses/"),
    ("ses_late", "_ses_late/"),
    ONCE,
    ONCE_LATE,
    BEST,
    JUDGED,
    JUDGED_LATE,
    JUDGED_LATE_LABELS,
    QUALITY,
    PARTS,
    SOME,
    TWIN,
    FEW,
    OPINION,
];

// === impl Timed ===

impl Timed {
    /// What `seed` draws, if it draws any.
    pub fn draw(seed: u64) -> Option<Self> {
        let mut random = Random::new(seed, "timed");
        if !random.chance(500) {
            return None;
        }
        let order = random.pick(&[Order::InTurn, Order::InTurn, Order::Whole, Order::Loose]);
        let grid = random.pick(&[None, Some(0), Some(1)]);
        let (span, jitter) = match grid {
            None => (random.pick(&[3_000, 20_000]), random.pick(&[0, 200, 2_000])),
            Some(_) => (3_000, random.pick(&[0, 200])),
        };
        let out_of_order_ms = match order {
            Order::InTurn | Order::Whole => jitter,
            Order::Loose => random.below(jitter + 1) / 2,
        };
        let (window, join) = (random.chance(600), random.chance(600));
        let times = Times { span, jitter, grid };
        // Drawn apart as well: it came later.
        let mut later = Random::new(seed, "sessions");
        let sessions = later.chance(600).then(|| SessionsStep::draw(&mut later));
        let keys = random.within(1, 5);
        // Drawn apart as well: seeds keep what they drew before there were updates.
        let mut updates = Random::new(seed, "updates");
        let takes_updates = updates.chance(350);
        // And before sessions took them.
        let keeps_sessions = Random::new(seed, "sessions over updates").chance(700);
        let (clicks, views) = (clicks(&mut random, 48, keys, times), clicks(&mut random, 32, keys, times));
        let part = Part::draw(seed);
        let window = (window || !join).then(|| {
            let window = WindowStep::draw(&mut random);
            if takes_updates { window.with_updates(&mut updates, keeps_sessions) } else { window }
        });
        let join = join.then(|| JoinStep::draw(&mut random, &mut Random::new(seed, "table of a join")));
        let of_window = window.filter(WindowStep::updates).map(|_| ("win", SINKS[0].1, "c"));
        let of_join = join.filter(JoinStep::updates).map(|_| ("pair", SINKS[2].1, "n"));
        let of_part = part.and_then(|part| part.updates());
        let updates: Vec<_> = of_window.into_iter().chain(of_join).chain(of_part).collect();
        let opinion = OpinionStep::draw(seed, &updates);
        Some(Self {
            cut: draw_cut(seed, window, opinion),
            opinion,
            order,
            clicks,
            views: if join.is_some() || matches!(part, Some(Part::Feedback(_))) { views } else { Vec::new() },
            window,
            join,
            sessions,
            part,
            out_of_order_ms,
            far_max: Duration::from_millis(random.pick(&[0, 60, 400])),
            files: random.within(1, 8),
            one_reader: random.chance(300),
            state_memory: random.pick(&[None, Some(1), Some(500), Some(3_000)]),
        })
    }

    /// The files of both sources, name and content.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for (name, rows) in [("clicks", &self.clicks), ("views", &self.views)] {
            let of_file = |place: usize| match self.order {
                Order::InTurn => place * self.files as usize / rows.len(),
                Order::Whole | Order::Loose => place % self.files as usize,
            };
            for file in 0..self.files as usize {
                let text: String =
                    (0..rows.len()).filter(|place| of_file(*place) == file).map(|place| line(&rows[place])).collect();
                if !rows.is_empty() {
                    files.push((format!("{name}/{file:02}.jsonl"), text));
                }
            }
        }
        files
    }

    /// What stands before all sections.
    pub fn head(&self) -> String {
        self.state_memory.map(|bytes| format!("state_memory = \"{bytes}B\"\n")).unwrap_or_default()
    }

    /// The sections of the sources, of `batch_rows` each.
    pub fn sources(&self, batch_rows: u64) -> String {
        let parallelism = if self.one_reader { "parallelism = 1\n" } else { "" };
        let files = if self.order == Order::Whole { "any_order" } else { "in_order" };
        let out_of_order = self.out_of_order_ms;
        let source = |name: &str| {
            format!(
                "[source.{name}]\nformat = \"jsonl\"\npath = \"{name}/*.jsonl\"\nbatch_rows = {batch_rows}\n{parallelism}\
                 watermark = {{ time = \"{FILE_TIME}\", out_of_order = \"{out_of_order}ms\", files = \"{files}\" }}\n\n"
            )
        };
        let views = if self.views.is_empty() { String::new() } else { source("views") };
        let few = match self.part.is_some_and(|part| part.has_source()) {
            false => String::new(),
            true => format!(
                "[source.few_rows]\nformat = \"jsonl\"\npath = \"clicks/*.jsonl\"\nbatch_rows = {batch_rows}\n{parallelism}\n"
            ),
        };
        source("clicks") + &views + &few
    }

    /// The sections of the steps.
    pub fn steps(&self, job: &Job) -> String {
        let window = self.window.iter().map(|window| window.text(self.cut_of(Behind::Window)));
        let window = window.chain(self.join.iter().map(JoinStep::text));
        let window = window.chain(self.sessions.iter().map(SessionsStep::text));
        let steps = window.chain(self.part.iter().map(Part::text));
        steps.chain(self.opinion.iter().map(|opinion| opinion.text(self.cut_of(Behind::Opinion), job))).collect()
    }

    /// The sections of the sinks.
    pub fn sinks(&self, file_bytes: u64, parallelism: u16) -> String {
        let sink = |(uid, folder): (&str, &str), changes: bool| {
            let from = uid.trim_end_matches("_out").replacen("_late", ".late", 1);
            let region = if self.is_behind(uid) { BEHIND } else { "" };
            let (folder, kinds) = (folder.trim_end_matches('/'), if changes { "kinds = \"change\"\n" } else { "" });
            format!(
                "\n[sink.{uid}]\nfrom = \"{from}\"\nformat = \"jsonl\"\npath = \"out/{region}{folder}\"\n{kinds}\
                 file_bytes = \"{file_bytes}B\"\nparallelism = {parallelism}\n"
            )
        };
        let mut text = String::new();
        if let Some(window) = &self.window {
            text += &sink(SINKS[0], window.updates());
            if window.has_late() {
                text += &sink(SINKS[1], window.first.is_some());
            }
        }
        if let Some(join) = &self.join {
            text += &sink(SINKS[2], join.updates());
            text.extend(SINKS[3..5].iter().take(join.late_outputs()).map(|found| sink(*found, false)));
        }
        if self.sessions.is_some() {
            text.extend(SINKS[5..7].iter().map(|found| sink(*found, false)));
        }
        text.extend(self.part.iter().flat_map(Part::sinks).map(|(found, changes)| sink(found, changes)));
        text.extend(self.opinion.iter().map(|_| sink(OPINION, true)));
        text
    }

    /// Whether the sink `uid` is in a second region.
    fn is_behind(&self, uid: &str) -> bool {
        let asks_behind = |step: &str| uid == OPINION.0 && self.opinion.is_some_and(|opinion| opinion.reads(step));
        match self.cut {
            None => false,
            Some((Behind::Window, _)) => uid.starts_with("win") || asks_behind("win"),
            Some((Behind::Opinion, _)) => uid == OPINION.0,
        }
    }

    fn cut_of(&self, place: Behind) -> Option<Cut> {
        self.cut.filter(|(found, _)| *found == place).map(|(_, cut)| cut)
    }
}

/// Whether `path` is a file of one of the sources.
pub(crate) fn is_source(path: &str) -> bool {
    path.starts_with("clicks/") || path.starts_with("views/")
}

/// A region of its own for one of the two; what gives other rows again when it runs again is read once it is committed.
fn draw_cut(seed: u64, window: Option<WindowStep>, opinion: Option<OpinionStep>) -> Option<(Behind, Cut)> {
    let mut random = Random::new(seed, "cut in time");
    if !random.chance(400) {
        return None;
    }
    let mode = random.pick(&[Cut::CommitRead, Cut::IdDedupe]);
    match (window, opinion) {
        (Some(_), Some(_)) if random.chance(500) => Some((Behind::Opinion, Cut::CommitRead)),
        (Some(window), _) => Some((Behind::Window, if window.first.is_none() { mode } else { Cut::CommitRead })),
        (None, Some(_)) => Some((Behind::Opinion, Cut::CommitRead)),
        (None, None) => None,
    }
}

/// The section of a durable step behind `from`, if there is a `cut`, and what is read then.
fn logged(cut: Option<Cut>, from: &str) -> (String, &str) {
    match cut {
        None => (String::new(), from),
        Some(cut) => (format!("[[step]]\nuid = \"logged\"\nfrom = \"{from}\"\n{}\n\n", cut.text()), "logged"),
    }
}

/// How the times of rows are drawn, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Times {
    span: u64,
    jitter: u64,
    /// Rows lie on a grid, or so many microseconds before it: where windows begin and end, and rows just meet.
    grid: Option<i64>,
}

/// Up to `most` rows, none of them more than the jitter earlier than one before it.
fn clicks(random: &mut Random, most: u64, keys: u64, times: Times) -> Vec<Click> {
    /// Divides every length that steps are drawn with, and every jitter, so that a grid keeps the promise of the watermark.
    const GRID_MS: u64 = 100;
    let count = random.within(8, most);
    let mut click = |id| {
        let ms = id * times.span / count + random.below(times.jitter + 1);
        let at = match times.grid {
            Some(before) => (ms / GRID_MS * GRID_MS * 1000) as i64 - before,
            None => (ms * 1000) as i64,
        };
        Click { id, key: random.below(keys), n: random.below(100), at: text::NOON + at }
    };
    (0..count).map(&mut click).collect()
}
