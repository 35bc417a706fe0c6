//! The client side in real time: the virtual clients with their limiters, told the real time, their calls put on the wire.
//!
//! Permits, retries, linger, pace, timeouts and counting are those of the virtual run; only the backend is elsewhere. A call
//! that is given up is dropped: over HTTP/1.1 its connection closes, over gRPC its stream is reset.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use forebay_gate::limiter::{Gauges, Limiter};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Protocol;
use super::channel::Channel;
use super::clock::Clock;
use super::message::{Call, Outcome, Report};
use crate::error::Error;
use crate::scenario::{Outage, Scenario, Span};
use crate::virtual_time::agenda::{Delay, Occasion};
use crate::virtual_time::backends::Model;
use crate::virtual_time::calls::CallId;
use crate::virtual_time::world::World;
use crate::virtual_time::{Run, Simulation, TICK_SECONDS};

/// Runs the clients of `scenario` against the backend at `port`.
///
/// # Errors
/// When the backend cannot be reached before the run.
pub async fn run(
    scenario: &Scenario,
    seed: u64,
    protocol: Protocol,
    port: u16,
    limiter: &dyn Fn(usize) -> Box<dyn Limiter>,
) -> Result<Run, Error> {
    let ours = clients_of(scenario);
    let channel = Channel::new(port, protocol)?;
    let far = Rc::new(RefCell::new(Far::default()));
    let mut simulation = Simulation::new(&ours, seed, limiter);
    simulation.backend = Box::new(Remote(Rc::clone(&far)));
    channel.start().await?;
    Wire::new(channel.clone(), far).drive(&mut simulation, ours.length.0, scenario.gauges).await;
    let idle_ratio = channel.report().await?.idle_ratio;
    Ok(Run { idle_ratio, ..simulation.into_record() })
}

/// The clients' part of `scenario`: link, gateway, tenants and outages are the other process's.
fn clients_of(scenario: &Scenario) -> Scenario {
    let mut ours = Scenario { round_trip: Span(0.0), gateway: None, ..scenario.clone() };
    for phase in &mut ours.phases {
        (phase.tenants, phase.rate_limit, phase.outage) = (0.0, None, Outage::None);
        phase.replicas.clear();
    }
    ours
}

/// What the clients' side knows of the backend.
#[derive(Default)]
struct Far {
    /// Calls to put on the wire.
    outbox: Vec<CallId>,
    /// What it last said of itself.
    report: Report,
}

/// Stands where a virtual run has its backend.
struct Remote(Rc<RefCell<Far>>);

/// Calls on the wire.
struct Wire {
    clock: Clock,
    channel: Channel,
    far: Rc<RefCell<Far>>,
    under_way: BTreeMap<CallId, AbortHandle>,
    sender: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
    swept: f64,
}

/// Something came back.
enum News {
    Ended(CallId, Outcome),
    Report(Report),
}

// === impl Remote ===

impl Model for Remote {
    fn enter(&mut self, id: CallId, _: &mut World) {
        self.0.borrow_mut().outbox.push(id);
    }

    fn on(&mut self, _: Occasion, _: &mut World) {}

    fn on_change(&mut self, _: &mut World) {}

    fn gauges(&self, replica: usize) -> Gauges {
        self.0.borrow().report.gauges(replica)
    }
}

// === impl Wire ===

impl Wire {
    /// Its second 0 is now.
    fn new(channel: Channel, far: Rc<RefCell<Far>>) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        Self { clock: Clock::start(), channel, far, under_way: BTreeMap::new(), sender, news, swept: 0.0 }
    }

    async fn drive(mut self, simulation: &mut Simulation<'_>, length: f64, gauges: Option<Span>) {
        let gauges_every = gauges.map_or(f64::INFINITY, |every| every.0);
        let mut gauges_at = if gauges.is_some() { 0.0 } else { f64::INFINITY };
        loop {
            let now = self.clock.now().min(length);
            catch_up(simulation, now);
            if now >= length {
                break;
            }
            self.send(&mut simulation.world);
            self.sweep(now, &mut simulation.world);
            if now >= gauges_at {
                gauges_at = now + gauges_every;
                self.ask_report();
            }
            let due = simulation.world.agenda.due().unwrap_or(length).min(length);
            tokio::select! {
                biased;
                news = self.news.recv() => self.take(news, length, simulation),
                () = self.clock.wait_until(due) => {}
            }
        }
        self.under_way.values().for_each(AbortHandle::abort);
    }

    /// Puts what wants to leave on the wire.
    fn send(&mut self, world: &mut World) {
        let leaving = std::mem::take(&mut self.far.borrow_mut().outbox);
        for id in leaving {
            let Some(call) = world.calls.get(id) else { continue };
            let rows = call.rows.iter().map(|row| (row.size, row.output)).collect();
            let message = Call { replica: call.limiter, rows };
            let (channel, sender) = (self.channel.clone(), self.sender.clone());
            let task = tokio::spawn(async move {
                let outcome = channel.call(message).await;
                // The run may be over.
                let _ = sender.send(News::Ended(id, outcome));
            });
            self.under_way.insert(id, task.abort_handle());
        }
    }

    /// Gives up the calls that nobody waits for any more.
    fn sweep(&mut self, now: f64, world: &mut World) {
        if now - self.swept < TICK_SECONDS {
            return;
        }
        self.swept = now;
        let over = |id: &CallId| world.calls.get(*id).is_none_or(|call| call.client_done);
        let given_up: Vec<(CallId, AbortHandle)> = self.under_way.extract_if(.., |id, _| over(id)).collect();
        for (id, task) in given_up {
            task.abort();
            world.end(id);
        }
    }

    fn ask_report(&self) {
        let (channel, sender) = (self.channel.clone(), self.sender.clone());
        tokio::spawn(async move {
            if let Ok(report) = channel.report().await {
                let _ = sender.send(News::Report(report));
            }
        });
    }

    /// Takes in what came, all of it, so that the loop is entered once for a clump of answers.
    fn take(&mut self, first: Option<News>, length: f64, simulation: &mut Simulation<'_>) {
        let mut next = first;
        while let Some(news) = next {
            match news {
                News::Report(report) => self.far.borrow_mut().report = report,
                News::Ended(id, outcome) => {
                    catch_up(simulation, self.clock.now().min(length));
                    if self.under_way.remove(&id).is_some() {
                        let (class, retry_after) = (outcome.class, outcome.retry_after);
                        simulation.world.send_back(id, class, retry_after, Delay::Link);
                    }
                }
            }
            next = self.news.try_recv().ok();
        }
    }
}

/// Does what is due by `now`, then makes it `now`.
fn catch_up(simulation: &mut Simulation<'_>, now: f64) {
    simulation.run_until(now);
    simulation.world.agenda.catch_up(now);
}
