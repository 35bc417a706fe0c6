//! Named facts.
