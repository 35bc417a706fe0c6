//! The gate benchmark as one command: which scenarios, which controllers, how many seeds; runs, tables, plots.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use forebay_gate::limiter::Limiter;

use crate::error::Error;
use crate::limiters::{self, Controller};
use crate::metrics::{Score, score};
use crate::oracle::{self, Plan};
use crate::parallel::{self, Progress};
use crate::real::{self, Place, Protocol};
use crate::report::{Cell, Report, Row};
use crate::scenario::{self, Scenario};
use crate::virtual_time::{self, Run};

/// Where scenario files are when nothing else is said, seen from the root of the repository.
const SCENARIOS: &str = "benchmarks/gate/scenarios";

/// What to run. The defaults run every file and every controller.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// A scenario file or a folder of them
    #[arg(long, value_name = "FILE|DIR", default_value = SCENARIOS)]
    pub scenario: PathBuf,
    /// Only scenarios whose names begin so, such as A or B1; a comma list or repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// ours, oracle, static:N, static:0.5x (of the oracle's first phase) or a rival; a comma list or repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub controller: Vec<String>,
    /// Runs of each scenario with each controller
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The seed of the first run; the others follow it
    #[arg(long, value_name = "SEED", default_value_t = 101)]
    pub first_seed: u64,
    /// Draw scenarios at random instead of reading files
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// How many to draw
    #[arg(long, value_name = "COUNT", default_value_t = 20, requires = "random")]
    pub count: usize,
    /// Write everything measured as JSON to standard output, instead of tables
    #[arg(long)]
    pub json: bool,
    /// Write a plot of each scenario's first run, and an overview, into this folder
    #[arg(long, value_name = "DIR")]
    pub plot: Option<PathBuf>,
    /// A table of every controller scenario by scenario, not only of ours
    #[arg(long)]
    pub details: bool,
    /// Fail when what the scenarios accept of ours is not met
    #[arg(long)]
    pub check: bool,
    /// Run over sockets on loopback, in real time: every run takes as long as its scenario
    #[arg(long)]
    pub real: bool,
    /// What the sockets speak
    #[arg(long, value_enum, default_value_t, requires = "real")]
    pub protocol: Protocol,
    /// Cut scenarios to this length
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    pub length: Option<Duration>,
    /// Be the backend process of a real run: for this program's own use
    #[arg(long, hide = true)]
    pub real_backend: bool,
    /// Runs at once; as many as there are processors when absent, one when real
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<usize>,
}

/// One scenario with one seed, under the oracle and every controller that fits.
struct Heat<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    controllers: &'a [Controller],
    seed: u64,
    /// Where to draw it, if it is to be drawn.
    plots: Option<&'a Path>,
    /// How to run it in real time, if so.
    real: Option<(Protocol, &'a Place)>,
}

/// Runs what `options` say and prints the tables, or the JSON, to standard output.
///
/// # Errors
/// `Scenario`, `File` and `Argument` before anything runs; `File` and `Other` for plots; `NotMet` with `check`.
pub fn run(options: &Options) -> Result<(), Error> {
    if options.real_backend {
        return real::serve();
    }
    let scenarios = selected(options)?;
    let controllers = controllers(options)?;
    let report = measure(options, &scenarios, &controllers)?;
    if options.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Error::Other(error.to_string()))?;
        println!("{text}");
    } else {
        let all = options.details.then(|| controllers.iter().map(Controller::to_string).collect());
        print!("{}", report.to_markdown(&all.unwrap_or_else(|| vec![Controller::Ours.to_string()])));
    }
    if options.check { check(&scenarios, &report) } else { Ok(()) }
}

fn selected(options: &Options) -> Result<Vec<Scenario>, Error> {
    let mut scenarios = match options.random {
        Some(seed) => scenario::random(seed, options.count),
        None => scenario::load_all(&options.scenario)?,
    };
    if !options.only.is_empty() {
        scenarios.retain(|scenario| options.only.iter().any(|begin| scenario.name.starts_with(begin.as_str())));
    }
    if let Some(length) = options.length {
        scenarios = scenarios.iter().map(|scenario| real::shortened(scenario, length.as_secs_f64())).collect();
    }
    if scenarios.is_empty() {
        return Err(Error::Argument("no scenario is left to run".to_string()));
    }
    Ok(scenarios)
}

fn controllers(options: &Options) -> Result<Vec<Controller>, Error> {
    if options.controller.is_empty() {
        return Ok(limiters::all());
    }
    options.controller.iter().map(|name| limiters::named(name)).collect()
}

/// Runs every controller in every scenario it fits.
///
/// # Errors
/// When a plot cannot be drawn or written.
pub fn measure(options: &Options, scenarios: &[Scenario], controllers: &[Controller]) -> Result<Report, Error> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let plans = oracle::plans(scenarios, options.threads.unwrap_or(processors));
    let threads = options.threads.unwrap_or(if options.real { 1 } else { processors });
    let place = backend_process()?;
    let real = options.real.then_some((options.protocol, &place));
    let seeds: Vec<u64> = (0..options.seeds).map(|seed| options.first_seed.wrapping_add(seed)).collect();
    let mut heats: Vec<Heat<'_>> = Vec::new();
    for (scenario, plan) in scenarios.iter().zip(&plans) {
        heats.extend(seeds.iter().map(|seed| {
            let plots = options.plot.as_deref().filter(|_| *seed == options.first_seed);
            Heat { scenario, plan, controllers, seed: *seed, plots, real }
        }));
    }
    let progress = Progress::new("gate: scenarios run, once for each seed", heats.len());
    let scores: Vec<Vec<(String, Score)>> =
        parallel::map(threads, &heats, &progress, Heat::run).into_iter().collect::<Result<_, _>>()?;
    let of_scenario = scores.chunks(seeds.len()).zip(scenarios.iter().zip(&plans));
    let rows = of_scenario.map(|(seeds, (scenario, plan))| row(scenario, plan, seeds)).collect();
    let report = Report::new(options.first_seed, options.seeds, rows);
    if let Some(folder) = &options.plot {
        crate::plots::overview(folder, &report)?;
    }
    Ok(report)
}

/// This program again, with the same subcommand and the flag that makes it the backend of a real run.
fn backend_process() -> Result<Place, Error> {
    let unknown = |error| Error::file("find the program", Path::new("of this process"), error);
    let program = std::env::current_exe().map_err(unknown)?;
    let subcommand = std::env::args().skip(1).take_while(|argument| !argument.starts_with('-'));
    Ok(Place::Process(program, subcommand.chain(["--real-backend".to_string()]).collect()))
}

/// Every controller of a scenario over its seeds; all seeds ran the same controllers.
fn row(scenario: &Scenario, plan: &Plan, seeds: &[Vec<(String, Score)>]) -> Row {
    let names = seeds.first().into_iter().flatten().map(|(name, _)| name);
    let cell = |(place, name): (usize, &String)| {
        Cell::new(name.clone(), seeds.iter().map(|scores| scores[place].1.clone()).collect())
    };
    Row {
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        objective: scenario.objective.0,
        plan: plan.clone(),
        cells: names.enumerate().map(cell).collect(),
    }
}

fn check(scenarios: &[Scenario], report: &Report) -> Result<(), Error> {
    let ours = Controller::Ours.to_string();
    let mut missed = Vec::new();
    for (scenario, row) in scenarios.iter().zip(&report.rows) {
        match row.cells.iter().find(|cell| cell.controller == ours) {
            Some(cell) => {
                let misses = cell.misses(&scenario.accept);
                missed.extend(misses.into_iter().map(|miss| format!("{}: {miss}", scenario.name)));
            }
            None => missed.push(format!("{}: ours did not run", scenario.name)),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Error::NotMet(missed)) }
}

// === impl Heat ===

impl Heat<'_> {
    /// The oracle's score first, then the controllers', each under its name.
    fn run(&self) -> Result<Vec<(String, Score)>, Error> {
        let oracle = self.run_virtual(Controller::Oracle);
        let mut scores = vec![(Controller::Oracle.to_string(), score(self.scenario, &oracle, &oracle))];
        let mut drawn: Vec<(String, Run)> = Vec::new();
        let fitting = self.controllers.iter().filter(|controller| controller.fits(self.scenario));
        for controller in fitting.filter(|controller| !matches!(controller, Controller::Oracle)) {
            let run = match self.real {
                None => self.run_virtual(*controller),
                Some((protocol, place)) => self.run_real(*controller, protocol, place)?,
            };
            scores.push((controller.to_string(), score(self.scenario, &run, &oracle)));
            if self.plots.is_some() {
                drawn.push((controller.to_string(), run));
            }
        }
        if let Some(folder) = self.plots {
            crate::plots::scenario(folder, self.scenario, &oracle, &drawn)?;
        }
        Ok(scores)
    }

    fn run_virtual(&self, controller: Controller) -> Run {
        virtual_time::run(self.scenario, self.seed, &|index| self.limiter(controller, index))
    }

    /// The yardstick stays virtual: what sockets and a shared machine cost is then part of the result.
    fn run_real(&self, controller: Controller, protocol: Protocol, place: &Place) -> Result<Run, Error> {
        real::run(self.scenario, self.seed, protocol, place, &|index| self.limiter(controller, index))
    }

    fn limiter(&self, controller: Controller, index: usize) -> Box<dyn Limiter> {
        controller.build(self.scenario, self.plan, index, self.seed)
    }
}
