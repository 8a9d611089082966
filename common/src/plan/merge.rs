//! Several definitions as one plan: names are unique over all pipelines of a process.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::Plan;

/// A name that two pipelines, or two things of one, both want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Clash {
    /// What it names: `source`, `table or view`, `lookup`, `report`, `alert`, `output`, `prediction`, `topic of an output`, `pipeline`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The pipelines that define it, in the order given.
    pub pipelines: Vec<String>,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` is defined more than once, in pipelines {}", self.kind, self.name, self.pipelines.join(", "))
    }
}

impl Plan {
    /// One plan of several. Its name is theirs, joined by `+`.
    ///
    /// # Errors
    /// Every name that more than one of them defines. Tables and views share one space of names, as reports
    /// read from both.
    pub fn merge(plans: Vec<Self>) -> Result<Self, Vec<Clash>> {
        let mut seen: HashMap<(&'static str, &str), Vec<String>> = HashMap::new();
        let mut order = Vec::new();
        for plan in &plans {
            let names = std::iter::once(("pipeline", plan.name.as_str()))
                .chain(plan.sources.iter().map(|s| ("source", s.name.as_str())))
                .chain(plan.tables.iter().map(|t| ("table or view", t.name.as_str())))
                .chain(plan.views.iter().map(|v| ("table or view", v.name.as_str())))
                .chain(plan.lookups.iter().map(|l| ("lookup", l.name.as_str())))
                .chain(plan.reports.iter().map(|r| ("report", r.name.as_str())))
                .chain(plan.alerts.iter().map(|a| ("alert", a.name.as_str())))
                .chain(plan.outputs.iter().map(|o| ("output", o.name.as_str())))
                // Two that write to one topic would be told apart by nobody.
                .chain(plan.outputs.iter().map(|o| ("topic of an output", o.topic.as_str())))
                .chain(plan.predictions.iter().map(|p| ("prediction", p.name.as_str())))
                .chain(plan.predictions.iter().map(|p| ("topic of an output", p.topic.as_str())));
            for name in names {
                let pipelines = seen.entry(name).or_default();
                pipelines.push(plan.name.clone());
                if pipelines.len() == 2 {
                    order.push(name);
                }
            }
        }
        let clashes: Vec<Clash> = order
            .into_iter()
            .map(|key| Clash { kind: key.0, name: key.1.to_owned(), pipelines: seen.remove(&key).unwrap_or_default() })
            .collect();
        if !clashes.is_empty() {
            return Err(clashes);
        }
        let mut merged = Self::empty(plans.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join("+"));
        for plan in plans {
            merged.sources.extend(plan.sources);
            merged.tables.extend(plan.tables);
            merged.views.extend(plan.views);
            merged.lookups.extend(plan.lookups);
            merged.reports.extend(plan.reports);
            merged.alerts.extend(plan.alerts);
            merged.outputs.extend(plan.outputs);
            merged.predictions.extend(plan.predictions);
        }
        Ok(merged)
    }

    /// A plan of nothing.
    pub(crate) const fn empty(name: String) -> Self {
        Self {
            name,
            sources: Vec::new(),
            tables: Vec::new(),
            views: Vec::new(),
            lookups: Vec::new(),
            reports: Vec::new(),
            alerts: Vec::new(),
            outputs: Vec::new(),
            predictions: Vec::new(),
        }
    }
}
