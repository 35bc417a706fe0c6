//! Runs a scenario in virtual time: clients with their limiters on one side, a backend on the other.
//!
//! Seconds pass as fast as they can be computed, and one seed gives one result, on every machine. Arrivals, sizes and
//! service times come from streams of their own, so that two limiters meet the same demand. Nothing is read from a clock.

pub(crate) mod agenda;
pub(crate) mod backends;
pub(crate) mod calls;
mod client;
mod dice;
mod record;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use forebay_gate::limiter::Limiter;

use self::agenda::Occasion;
use self::backends::Model;
use self::calls::TENANT;
use self::client::Client;
pub use self::dice::{Dice, LogNormal};
pub use self::record::{ClientRecord, Run, Second};
use self::world::World;
use crate::scenario::{Ramping, Scenario};

/// Time between two ticks of a limiter.
pub const TICK_SECONDS: f64 = 0.01;

/// Numbers on a ramp move this often.
const RAMP_SECONDS: f64 = 0.5;

/// One run of one scenario.
pub struct Simulation<'a> {
    scenario: &'a Scenario,
    pub(crate) world: World,
    pub(crate) backend: Box<dyn Model>,
    clients: Vec<Client>,
    tenant: Tenant,
    /// A step of a ramp is planned.
    ramping: bool,
    occasions: u64,
}

/// Everybody else who calls the backend, without ever adapting.
struct Tenant {
    arrivals: Dice,
    rows: Dice,
    plan: u32,
}

/// Runs `scenario` once with `seed`; `limiter` makes the n-th limiter, one for each
/// client and visible replica.
pub fn run(scenario: &Scenario, seed: u64, limiter: &dyn Fn(usize) -> Box<dyn Limiter>) -> Run {
    let mut simulation = Simulation::new(scenario, seed, limiter);
    simulation.run_until(scenario.length.0);
    simulation.into_record()
}

// === impl Simulation ===

impl<'a> Simulation<'a> {
    /// At second 0, nothing happened yet.
    pub fn new(scenario: &'a Scenario, seed: u64, limiter: &dyn Fn(usize) -> Box<dyn Limiter>) -> Self {
        let mut world = World::new(scenario, seed);
        let mut backend = backends::model(&scenario.backend);
        backend.on_change(&mut world);
        let routes = scenario.backend.visible_replicas();
        let mut clients = Vec::new();
        for (index, span) in scenario.client_spans().into_iter().enumerate() {
            let limiters = (0..routes).map(|route| limiter(index * routes + route)).collect();
            clients.push(Client::new(scenario, index as u32, span, limiters, seed));
            world.agenda.at(span.0, Occasion::Start { client: index as u32 });
        }
        for phase in &scenario.phases {
            world.agenda.at(phase.at.0, Occasion::Phase);
        }
        let tenant = Tenant { arrivals: Dice::new(seed, 1), rows: Dice::new(seed, 2), plan: 0 };
        let mut simulation = Self { scenario, world, backend, clients, tenant, ramping: false, occasions: 0 };
        simulation.tenant.plan(&mut simulation.world);
        simulation
    }

    /// Works through everything that is due by second `end`.
    pub fn run_until(&mut self, end: f64) {
        while let Some(occasion) = self.world.agenda.next(end) {
            self.occasions += 1;
            self.on(occasion);
        }
    }

    pub(crate) fn on(&mut self, occasion: Occasion) {
        let (world, clients) = (&mut self.world, &mut self.clients);
        match occasion {
            Occasion::Arrival { client, plan } => clients[client as usize].arrive(plan, world),
            Occasion::Tenant { plan } => {
                if let Some(id) = self.tenant.call(plan, world)
                    && world.admit(id)
                {
                    self.backend.enter(id, world);
                }
            }
            Occasion::Entry(id) => {
                if world.calls.get(id).is_some() && world.admit(id) {
                    self.backend.enter(id, world);
                }
            }
            Occasion::SlotDone { .. } | Occasion::DeviceDone { .. } | Occasion::Step => {
                self.backend.on(occasion, world)
            }
            Occasion::Answer(id) => with_client(clients, world, id, |client, world| client.answered(id, world)),
            Occasion::Timeout(id) => with_client(clients, world, id, |client, world| client.timed_out(id, world)),
            Occasion::Hedge(id) => with_client(clients, world, id, |client, world| client.hedge(id, world)),
            Occasion::Tick { client } => {
                clients[client as usize].tick(world, |replica| self.backend.gauges(replica));
            }
            Occasion::Wake { client } => clients[client as usize].woken(world),
            Occasion::Phase => self.change(true),
            Occasion::Ramp => {
                self.ramping = false;
                self.change(false);
            }
            Occasion::Start { client } => clients[client as usize].start(world),
        }
    }

    /// Conditions changed, with a phase or on a ramp.
    fn change(&mut self, phase: bool) {
        let now = self.world.now();
        let (conditions, ramping) = self.scenario.conditions(now);
        let demand_changed = conditions.demand != self.world.conditions.demand;
        let tenants_changed = conditions.tenants != self.world.conditions.tenants;
        // A ramp step that is due after the ramp ended finds steady conditions; the phase already set them.
        if !phase && ramping == Ramping::Steady {
            return;
        }
        self.world.conditions = conditions;
        if ramping == Ramping::Moving && !std::mem::replace(&mut self.ramping, true) {
            self.world.agenda.at(((now / RAMP_SECONDS).floor() + 1.0) * RAMP_SECONDS, Occasion::Ramp);
        }
        if tenants_changed {
            self.tenant.plan(&mut self.world);
        }
        self.backend.on_change(&mut self.world);
        for client in &mut self.clients {
            if demand_changed {
                client.plan_arrivals(&mut self.world);
            }
            client.dispatch(&mut self.world);
        }
    }

    /// What is known so far.
    pub fn into_record(mut self) -> Run {
        self.backend.on_change(&mut self.world);
        Run {
            idle_ratio: self.world.meter.idle_ratio(),
            occasions: self.occasions,
            clients: self.clients.into_iter().map(|client| client.record).collect(),
        }
    }

    /// Why the limiters of each client stand where they stand.
    pub fn why(&self) -> Vec<Vec<String>> {
        self.clients.iter().map(Client::why).collect()
    }
}

/// Lets the client of call `id` act; nothing if the call is over.
fn with_client(
    clients: &mut [Client],
    world: &mut World,
    id: calls::CallId,
    act: impl FnOnce(&mut Client, &mut World),
) {
    let client = world.calls.get(id).map(|call| call.client);
    if let Some(client) = client.and_then(|client| clients.get_mut(client as usize)) {
        act(client, world);
    }
}

// === impl Tenant ===

impl Tenant {
    /// Begins a new plan of calls, because their rate changed.
    fn plan(&mut self, world: &mut World) {
        self.plan = self.plan.wrapping_add(1);
        self.next(world);
    }

    fn next(&mut self, world: &mut World) {
        let rate = world.conditions.tenants;
        if rate > 0.0 {
            let at = world.now() + self.arrivals.exponential() / rate;
            world.agenda.at(at, Occasion::Tenant { plan: self.plan });
        }
    }

    /// A call of one row, if `plan` still holds.
    fn call(&mut self, plan: u32, world: &mut World) -> Option<calls::CallId> {
        if plan != self.plan {
            return None;
        }
        self.next(world);
        let now = world.now();
        let id = world.calls.begin(TENANT, 0, now);
        let row = world.shape.draw(&mut self.rows, world.conditions.size, now);
        world.calls.get_mut(id)?.rows.push(row);
        Some(id)
    }
}
