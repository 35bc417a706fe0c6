//! What a backend says of its own queue: the Prometheus text of Triton, vLLM, SGLang and TGI as [`Gauges`], and a scraper.
//!
//! Gauges come late, once a second, and may be wrong, so they bound a limit and never set it. Counts are summed over all
//! series, because servers report one per process or model. A page that has none of a family's names gives no gauges
//! rather than zeros: zeros would say that the server is idle.

mod page;
mod scrape;

use forebay_gate::limiter::Gauges;

pub use self::page::Page;
pub use self::scrape::{Scraped, Scraper};

/// Whose metrics a page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// NVIDIA Triton Inference Server.
    Triton,
    /// vLLM.
    Vllm,
    /// SGLang, started with `--enable-metrics`.
    Sglang,
    /// Hugging Face text-generation-inference and text-embeddings-inference.
    Tgi,
}

/// Names of one gauge, the newest first; the first that a page has counts.
type Names = &'static [&'static str];

// === impl Family ===

impl Family {
    /// The gauges of `page`, or `None` if it does not say how much waits.
    ///
    /// Triton tells what waits and not what runs. Of vLLM's cache usage nothing is read: full is how it should be.
    pub fn gauges(self, page: &Page) -> Option<Gauges> {
        let (waiting, running, preempted): (Names, Names, Names) = match self {
            Family::Triton => (&["nv_inference_pending_request_count"], &[], &[]),
            Family::Vllm => (
                &["vllm:num_requests_waiting"],
                &["vllm:num_requests_running"],
                &["vllm:num_preemptions_total", "vllm:num_preemptions"],
            ),
            Family::Sglang => {
                (&["sglang:num_queue_reqs"], &["sglang:num_running_reqs"], &["sglang:num_retracted_requests_total"])
            }
            Family::Tgi => (&["tgi_queue_size", "te_queue_size"], &["tgi_batch_current_size"], &[]),
        };
        let sum = |names: Names| names.iter().find_map(|name| page.sum(name));
        Some(Gauges {
            waiting: sum(waiting)?,
            running: sum(running).unwrap_or(0.0),
            preempted_total: sum(preempted).unwrap_or(0.0),
        })
    }

    /// The family whose names `page` has.
    pub fn of(page: &Page) -> Option<Self> {
        [Family::Triton, Family::Vllm, Family::Sglang, Family::Tgi].into_iter().find(|f| f.gauges(page).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLLM: &str = include_str!("../../tests/exchanges/gauges/vllm.txt");
    const TRITON: &str = include_str!("../../tests/exchanges/gauges/triton.txt");
    const SGLANG: &str = include_str!("../../tests/exchanges/gauges/sglang.txt");
    const TGI: &str = include_str!("../../tests/exchanges/gauges/tgi.txt");

    fn read(text: &str) -> (Option<Family>, Option<Gauges>) {
        let page = Page::read(text.as_bytes());
        let family = Family::of(&page);
        (family, family.and_then(|family| family.gauges(&page)))
    }

    #[test]
    fn each_family_is_known_by_its_names_and_series_are_summed() {
        let gauges = |waiting, running, preempted_total| Some(Gauges { waiting, running, preempted_total });
        assert_eq!(read(VLLM), (Some(Family::Vllm), gauges(7.0, 48.0, 3.0)));
        assert_eq!(read(TRITON), (Some(Family::Triton), gauges(5.0, 0.0, 0.0)));
        assert_eq!(read(SGLANG), (Some(Family::Sglang), gauges(9.0, 16.0, 2.0)));
        assert_eq!(read(TGI), (Some(Family::Tgi), gauges(4.0, 12.0, 0.0)));
        assert_eq!(read("up 1\n"), (None, None));
    }
}
