//! Speed views in memory: what the comparison reads.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use tideline_common::key::Key;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::{
    Flush, KeySelector, LookupRows, LookupSchema, PanePage, PaneQuery, PortResult, Progress, ShardPanes, SpeedViews,
    ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::record::Record;
use tideline_common::state::{Input, Rule, StateBatch, StateColumn, StateField, StateTable};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;
use tideline_transform::{SourceTransform, ViewTransform};

#[derive(Debug, Default)]
pub struct MemoryViews {
    /// By view and shard.
    pub panes: Mutex<BTreeMap<(String, Shard), StateTable>>,
    pub late: Mutex<BTreeMap<String, StateTable>>,
    pub progress: Mutex<BTreeMap<Shard, Progress>>,
}

pub fn late_field() -> StateField {
    StateField {
        name: "late".into(),
        rule: Rule::Sum,
        ty: Type::Int,
        input: Input::One,
        table: String::new(),
        argument: None,
    }
}

impl MemoryViews {
    /// Takes in records of a shard as the speed layer does when nothing is late; duplicates of the shard are left out.
    pub fn take(&self, plan: &Plan, source: &str, partition: u32, records: &[Record]) {
        let transform = SourceTransform::new(plan, source).unwrap();
        let mut rows = transform.decode(partition, records).unwrap().rows;
        let shard = Shard::new(source, partition);
        if let Some(keys) = rows.dedupe_keys().map(<[_]>::to_vec) {
            let mut seen = std::collections::BTreeSet::new();
            let keep: Vec<bool> = keys.iter().map(|key| key.is_none_or(|key| seen.insert(key))).collect();
            rows.retain(&keep).unwrap();
        }
        for table in plan.tables_of(source) {
            let frame = transform.table_rows(&table.name, &rows).unwrap();
            for view in plan.views_of(&table.name) {
                let states = ViewTransform::new(plan, &view.name).unwrap().states(&table.name, &frame).unwrap();
                self.merge(view, &shard, &states);
            }
        }
        let position = records.last().map_or(0, |record| record.offset + 1);
        let mut progress = self.progress.lock().unwrap();
        progress.insert(shard, Progress { position, ..Progress::default() });
    }

    pub fn merge(&self, view: &ViewPlan, shard: &Shard, states: &StateBatch) {
        let mut panes = self.panes.lock().unwrap();
        let table = panes.entry((view.name.clone(), shard.clone())).or_insert_with(|| StateTable::new(&view.fields));
        table.merge(states);
    }

    /// Says that a row of the group was late.
    pub fn count_late(&self, view: &str, key: &[u8], pane: Timestamp) {
        let mut late = self.late.lock().unwrap();
        let table = late.entry(view.to_owned()).or_insert_with(|| StateTable::new(&[late_field()]));
        let mut one = StateBatch::new(&[late_field()]);
        one.push_identity(key, pane);
        one.states = vec![StateColumn::SumInt(vec![1])];
        table.merge(&one);
    }

    /// Forgets a group.
    pub fn forget(&self, view: &ViewPlan, keep: impl Fn(&[u8], Timestamp) -> bool) {
        for ((name, _), table) in self.panes.lock().unwrap().iter_mut() {
            if *name != view.name {
                continue;
            }
            let groups = table.groups();
            let mut kept = StateTable::new(&view.fields);
            for row in 0..groups.len() {
                if keep(groups.keys.get(row), groups.panes[row]) {
                    let mut one = StateBatch::new(&view.fields);
                    one.push_from(groups, row);
                    kept.merge(&one);
                }
            }
            *table = kept;
        }
    }

    fn page<'a>(tables: impl Iterator<Item = &'a StateTable>, fields: &[StateField], query: &PaneQuery) -> PanePage {
        let mut rows: Vec<(Vec<u8>, Timestamp, &StateTable, usize)> = Vec::new();
        for table in tables {
            let groups = table.groups();
            for row in 0..groups.len() {
                let (key, pane) = (groups.keys.get(row), groups.panes[row]);
                let wanted = match &query.keys {
                    KeySelector::All { after: Some(after) } => key > after.as_bytes(),
                    KeySelector::All { after: None } => true,
                    KeySelector::One(one) => key == one.as_bytes(),
                };
                if wanted && pane >= query.from && pane < query.to {
                    rows.push((key.to_vec(), pane, table, row));
                }
            }
        }
        rows.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let mut panes = StateBatch::new(fields);
        for (index, (key, _, table, row)) in rows.iter().enumerate() {
            if panes.len() >= query.max_rows && rows[index - 1].0 != *key {
                return PanePage { panes, more_after: Some(Key(rows[index - 1].0.clone())) };
            }
            panes.push_from(table.groups(), *row);
        }
        PanePage { panes, more_after: None }
    }
}

#[async_trait]
impl SpeedViews for MemoryViews {
    async fn write(&self, _: &Flush, _: Timestamp) -> PortResult<()> {
        Ok(())
    }

    async fn panes(&self, view: &ViewSchema, query: &PaneQuery, _: Timestamp) -> PortResult<PanePage> {
        let panes = self.panes.lock().unwrap();
        let tables = panes.iter().filter(|((name, _), _)| *name == view.name).map(|(_, table)| table);
        Ok(Self::page(tables, &view.fields, query))
    }

    async fn late(&self, view: &ViewSchema, query: &PaneQuery, _: Timestamp) -> PortResult<PanePage> {
        Ok(Self::page(self.late.lock().unwrap().get(&view.name).into_iter(), &[late_field()], query))
    }

    async fn newest_pane(&self, _: &ViewSchema, _: Timestamp) -> PortResult<Option<Timestamp>> {
        Ok(None)
    }

    async fn panes_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<StateBatch> {
        let query = PaneQuery { keys: KeySelector::All { after: None }, from, to, max_rows: usize::MAX };
        Ok(self.panes(view, &query, now).await?.panes)
    }

    async fn shards_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        _: Timestamp,
    ) -> PortResult<Vec<ShardPanes>> {
        let query = PaneQuery { keys: KeySelector::All { after: None }, from, to, max_rows: usize::MAX };
        let panes = self.panes.lock().unwrap();
        let of_view = panes.iter().filter(|((name, _), _)| *name == view.name);
        let shards = of_view.map(|((_, shard), table)| ShardPanes {
            shard: shard.clone(),
            panes: Self::page(std::iter::once(table), &view.fields, &query).panes,
        });
        Ok(shards.filter(|shard| !shard.panes.is_empty()).collect())
    }

    async fn rows(&self, lookup: &LookupSchema, _: &Key, _: usize, _: Timestamp) -> PortResult<LookupRows> {
        Ok(LookupRows::new(&lookup.columns))
    }

    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        Ok(self.progress.lock().unwrap().clone().into_iter().collect())
    }

    async fn sync(&self) -> PortResult<()> {
        Ok(())
    }

    async fn expire(&self, _: &[ViewSchema], _: &[LookupSchema], _: Timestamp) -> PortResult<u64> {
        Ok(0)
    }
}
