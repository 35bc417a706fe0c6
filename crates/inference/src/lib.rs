//! All that lies between rows and what answers slowly: the vocabulary of requests ([`request`]), forming request batches
//! and limiting how many are in flight ([`call`]), what is open and who waits for it ([`service`]), the durable record of
//! what was answered ([`journal`]), and models in child processes ([`hosts`], whose child side is [`worker`]).
//!
//! Nothing here knows how rows reach it or where they go; operators stand on it, never the other way round. Nothing here
//! blocks its caller, and no answer is told before it is durable.

pub mod call;
pub mod hosts;
pub mod journal;
pub mod protocols;
pub mod request;
pub mod service;
pub mod worker;
