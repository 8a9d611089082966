//! Small files of a folder made one.
//!
//! Every run adds a file to each folder it writes to. Files of fewer than `compact_rows` rows are joined once a
//! folder has more than `compact_files` of them; a joined file that has grown big enough is left alone, so a row
//! is rewritten a bounded number of times.

use std::collections::BTreeMap;

use tideline_common::manifest::TimedFile;
use tideline_common::plan::EVENT_TIME;

use crate::context::Context;
use crate::error::BatchError;
use crate::lake;

/// Joins small files. The old ones stay where they are, for the versions that name them.
pub(crate) async fn compact(context: &Context, files: Vec<TimedFile>) -> Result<Vec<TimedFile>, BatchError> {
    let mut small: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        if file.rows < context.config.compact_rows {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            small.entry(folder).or_default().push(index);
        }
    }
    small.retain(|_, indexes| indexes.len() > context.config.compact_files.max(1));
    if small.is_empty() {
        return Ok(files);
    }
    let mut joined = Vec::new();
    let mut gone = vec![false; files.len()];
    for (folder, indexes) in &small {
        context.check()?;
        // No more rows than make one big file; what is left over waits for the next run.
        let mut rows = 0;
        let mut frames = Vec::new();
        for index in indexes {
            if rows >= context.config.compact_rows {
                break;
            }
            rows += files[*index].rows;
            frames.push(context.lake.read(&files[*index].path).await?);
            gone[*index] = true;
        }
        let path = context.file(folder);
        let made = lake::blocking(move || {
            let Some(mut frame) = lake::stack(frames)? else { return Ok(None) };
            Ok(Some((lake::timed(path, &frame, EVENT_TIME)?, lake::encode(&mut frame, None)?)))
        })
        .await?;
        if let Some((file, bytes)) = made {
            context.lake.put(&file.path, bytes).await?;
            joined.push(file);
        }
    }
    tracing::debug!(folders = small.len(), files = gone.iter().filter(|gone| **gone).count(), "small files joined");
    let mut gone = gone.into_iter();
    let mut kept = files;
    kept.retain(|_| !gone.next().unwrap_or(false));
    kept.extend(joined);
    Ok(kept)
}
