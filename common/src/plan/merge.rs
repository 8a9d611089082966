//! Several definitions as one plan: names are unique over all pipelines of a process.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::{Plan, outputs};

/// The kind of a [`Clash`] that is a cycle.
const CYCLE: &str = "what an output writes to";

/// A name that two pipelines, or two things of one, both want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Clash {
    /// What it names: `source`, `table or view`, `lookup`, `report`, `alert`, `output`, `prediction`, `topic of an output`,
    /// `endpoint`, `path of an endpoint`, `pipeline`;
    /// or `what an output writes to`, of a topic from which outputs of several pipelines lead back to what it is made from.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The pipelines that define it, in the order given.
    pub pipelines: Vec<String>,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name, pipelines) = (self.kind, &self.name, self.pipelines.join(", "));
        if kind == CYCLE {
            return write!(f, "{kind} `{name}` comes back to where it is from, by way of pipelines {pipelines}");
        }
        write!(f, "{kind} `{name}` is defined more than once, in pipelines {pipelines}")
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
                .chain(plan.endpoints.iter().map(|e| ("endpoint", e.name.as_str())))
                .chain(plan.endpoints.iter().map(|e| ("path of an endpoint", e.path.as_str())))
                .chain(outputs::written(plan).map(|(name, ..)| ("output", name)))
                // Two that write to one topic would be told apart by nobody.
                .chain(plan.predictions.iter().map(|p| ("prediction", p.name.as_str())))
                .chain(outputs::written(plan).map(|(_, topic, _)| ("topic of an output", topic)));
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
        let owned = |plan: &Self| {
            let names: Vec<String> = outputs::written(plan).map(|(output, ..)| output.to_owned()).collect();
            names.into_iter().map(|output| (output, plan.name.clone())).collect::<Vec<_>>()
        };
        let owners: HashMap<String, String> = plans.iter().flat_map(owned).collect();
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
            merged.row_outputs.extend(plan.row_outputs);
            merged.endpoints.extend(plan.endpoints);
        }
        // Within one definition it is a mistake with a place; this finds those over several.
        let cycle = |(output, topic, sources): (&str, &str, &[String])| {
            let way = outputs::way_back(&merged, topic, sources)?;
            let on_the_way = std::iter::once(output).chain(way.through.iter().map(String::as_str));
            let mut pipelines: Vec<String> = on_the_way.filter_map(|output| owners.get(output).cloned()).collect();
            pipelines.sort();
            pipelines.dedup();
            Some(Clash { kind: CYCLE, name: topic.to_owned(), pipelines })
        };
        let cycles: Vec<Clash> = outputs::written(&merged).filter_map(cycle).collect();
        if cycles.is_empty() { Ok(merged) } else { Err(cycles) }
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
            row_outputs: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}
