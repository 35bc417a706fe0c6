//! Model checks of the real core: every order of work, crashes and disk operations within a bound.
//!
//! [`regions`] is two regions over one edge (models A and A2 of the design); [`zombie`] is several attempts of one region, each
//! stalled anywhere, over the real restart and publish cores as well (model E).

mod disk;
mod regions;
mod regions_tests;
mod zombie;
