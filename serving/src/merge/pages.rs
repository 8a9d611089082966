//! Pages of panes of one layer, in key order.

use std::sync::Arc;

use tideline_common::manifest::Manifest;
use tideline_common::ports::{KeySelector, PanePage, PaneQuery, ViewSchema};
use tideline_common::state::StateBatch;

use super::windows::Slot;
use super::{LayerDown, Reader};
use crate::boundary::{Interval, Layer};

/// The panes of one layer that an answer reads, page by page.
#[derive(Debug)]
pub(crate) struct LayerPages {
    layer: Layer,
    panes: Interval,
    /// What to read next, `None` at the end.
    next: Option<KeySelector>,
    pub(crate) page: StateBatch,
    /// The first row of the page that was not taken.
    at: usize,
}

impl LayerPages {
    /// Pages of `panes`, nothing when `None`.
    pub(crate) fn new(layer: Layer, panes: Option<Interval>, keys: &KeySelector, view: &ViewSchema) -> Self {
        Self {
            layer,
            panes: panes.unwrap_or(Interval::ALL),
            next: panes.map(|_| keys.clone()),
            page: StateBatch::new(&view.fields),
            at: 0,
        }
    }

    /// Reads on until there is a row or the end; adds the rows read to `read`.
    pub(crate) async fn fill(
        &mut self,
        reader: &Reader,
        manifest: Option<&Arc<Manifest>>,
        view: &ViewSchema,
        max_rows: usize,
        read: &mut usize,
    ) -> Result<(), LayerDown> {
        while self.at == self.page.len() {
            let Some(keys) = self.next.take() else { return Ok(()) };
            let one = matches!(keys, KeySelector::One(_));
            let query = PaneQuery { keys, from: self.panes.from, to: self.panes.to, max_rows };
            let PanePage { panes, more_after } = match (self.layer, manifest) {
                (Layer::Batch, Some(manifest)) => {
                    reader.read(self.layer, reader.analytics.panes(manifest, view, &query)).await?
                }
                // Nothing has been published.
                (Layer::Batch, None) => return Ok(()),
                _ => reader.read(self.layer, reader.views.panes(view, &query, reader.clock.now())).await?,
            };
            *read += panes.len();
            (self.page, self.at) = (panes, 0);
            self.next = more_after.filter(|_| !one).map(|key| KeySelector::All { after: Some(key) });
        }
        Ok(())
    }

    /// The key of the next row.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        (self.at < self.page.len()).then(|| self.page.keys.get(self.at))
    }

    /// Takes the rows of `key` and appends them as slots of page `index`.
    pub(crate) fn take(&mut self, key: &[u8], index: usize, slots: &mut Vec<Slot>) {
        while self.key() == Some(key) {
            let (pane, first) = (self.page.panes[self.at], self.at);
            while self.key() == Some(key) && self.page.panes[self.at] == pane {
                self.at += 1;
            }
            slots.push(Slot { pane, page: index, first, end: self.at });
        }
    }
}
