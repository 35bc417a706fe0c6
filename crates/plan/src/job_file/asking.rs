//! Tables and checks of how a model may be asked: limits that all share, second copies, own readings of refusals.

use std::num::{NonZeroU16, NonZeroU64};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::JobFileError;
use super::check::Checker;
use super::tables::{HostName, ModelTable};
use super::units::SizeText;
use crate::asking::{HedgeSpec, LimitsSpec, Means, RefusalSpec, Thousandths};

type Result<T> = std::result::Result<T, JobFileError>;

/// What all steps and subtasks that ask a model share; each default no bound.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// Requests started in a second.
    #[schemars(with = "Option<f64>")]
    pub requests_per_second: Option<Spanned<f64>>,
    /// Rows sent in a second.
    #[schemars(with = "Option<f64>")]
    pub rows_per_second: Option<Spanned<f64>>,
    /// `openai`: tokens of prompts and answers in a minute; estimated when a request is sent, settled by its answer.
    #[schemars(with = "Option<NonZeroU64>")]
    pub tokens_per_minute: Option<Spanned<NonZeroU64>>,
    /// Bytes of input columns in flight.
    pub in_flight_bytes: Option<SizeText>,
    /// `openai`: tokens in flight, by estimate.
    #[schemars(with = "Option<NonZeroU64>")]
    pub in_flight_tokens: Option<Spanned<NonZeroU64>>,
}

/// Second copies of slow requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HedgeTable {
    /// How long the first copy is waited for: a duration, or `p95` for the 95th percentile of requests before it.
    #[serde(default = "p95")]
    #[schemars(with = "String")]
    pub after: Spanned<String>,
    /// Second copies per request, at most 0.5.
    #[serde(default = "budget")]
    #[schemars(with = "f64")]
    pub budget: Spanned<f64>,
}

/// An own reading of a refusal; the first that fits counts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusalTable {
    /// The HTTP status it is for; default any.
    pub status: Option<NonZeroU16>,
    /// Text that the body has to contain; default any.
    pub contains: Option<String>,
    /// What it means.
    pub means: Means,
}

fn p95() -> Spanned<String> {
    Spanned::new(0..0, "p95".to_string())
}

/// One in twenty: what is slower than the 95th percentile.
fn budget() -> Spanned<f64> {
    Spanned::new(0..0, 0.05)
}

/// The limits that `table` declares.
pub(super) fn limits(checker: &Checker, table: &ModelTable) -> Result<LimitsSpec> {
    let Some(limits) = table.limits.as_ref().map(Spanned::get_ref) else { return Ok(LimitsSpec::default()) };
    let tokens = [
        ("tokens_per_minute", limits.tokens_per_minute.as_ref()),
        ("in_flight_tokens", limits.in_flight_tokens.as_ref()),
    ];
    for (key, given) in tokens {
        if let Some(given) = given.filter(|_| table.host != HostName::OpenAi) {
            return Err(checker.error(given.span(), format!("{key} says nothing to a model without tokens")));
        }
    }
    let rate =
        |key: &str, given: &Option<Spanned<f64>>| given.as_ref().map(|rate| number(checker, key, rate)).transpose();
    Ok(LimitsSpec {
        requests_per_second: rate("requests_per_second", &limits.requests_per_second)?,
        rows_per_second: rate("rows_per_second", &limits.rows_per_second)?,
        tokens_per_minute: limits.tokens_per_minute.as_ref().map(|tokens| tokens.get_ref().get()),
        in_flight_bytes: limits.in_flight_bytes.map(|size| size.0),
        in_flight_tokens: limits.in_flight_tokens.as_ref().map(|tokens| tokens.get_ref().get()),
    })
}

/// The second copies that `table` declares; only of a model that may be asked twice, and that has more than one address.
pub(super) fn hedge(checker: &Checker, table: &ModelTable) -> Result<Option<HedgeSpec>> {
    let Some(hedge) = &table.hedge else { return Ok(None) };
    if !table.idempotent.as_ref().is_some_and(|given| *given.get_ref()) {
        return Err(checker
            .error(hedge.span(), "hedge asks a model twice, which has to be harmless")
            .with_help("declare idempotent = true if asking the same twice does no harm"));
    }
    if table.urls.as_ref().is_none_or(|urls| urls.get_ref().len() < 2) {
        return Err(checker
            .error(hedge.span(), "a second copy goes to another replica, and this model has one")
            .with_help("urls = [\"http://...\", \"http://...\"]"));
    }
    let HedgeTable { after, budget } = hedge.get_ref();
    let budget = number(checker, "budget", budget).and_then(|ratio| match ratio.value() <= 0.5 {
        true => Ok(ratio),
        false => Err(checker.error(budget.span(), "budget is second copies per request: at most 0.5")),
    })?;
    let after = match after.get_ref().as_str() {
        "p95" => None,
        text => Some(humantime::parse_duration(text).ok().filter(|after| !after.is_zero()).ok_or_else(|| {
            let message = format!("\"{text}\" is no time to wait for a request");
            checker.error(after.span(), message).with_help("after = \"p95\", or a duration: after = \"80ms\"")
        })?),
    };
    Ok(Some(HedgeSpec { after, budget }))
}

/// The readings of refusals that `tables` declare.
pub(super) fn refusals(checker: &Checker, tables: Vec<Spanned<RefusalTable>>) -> Result<Vec<RefusalSpec>> {
    let checked = tables.into_iter().map(|table| {
        let span = table.span();
        let RefusalTable { status, contains, means } = table.into_inner();
        if status.is_none() && contains.as_ref().is_none_or(String::is_empty) {
            let error = checker.error(span, "a refusal is known by its status or by what its body contains");
            return Err(error.with_help("refusals = [{ status = 418, contains = \"busy\", means = \"overload\" }]"));
        }
        Ok(RefusalSpec { status: status.map(NonZeroU16::get), contains, means })
    });
    checked.collect()
}

fn number(checker: &Checker, key: &str, given: &Spanned<f64>) -> Result<Thousandths> {
    Thousandths::of(*given.get_ref())
        .ok_or_else(|| checker.error(given.span(), format!("{key} is a number of at least 0.001")))
}
