//! Where checkpoints of the speed layer lie in the lake: `checkpoints/<source>/<partition>/<position, 20 digits>-….ckpt`.
//! The speed layer writes them; the batch layer learns from their names what of Bronze may still be replayed.

use crate::position::{Offset, Shard};

/// Folder of the checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// Folder of what belongs to a shard.
pub fn folder(shard: &Shard) -> String {
    format!("{CHECKPOINTS}/{}/{}", shard.source, shard.partition)
}

/// The object that says at which offset a shard began, as text; absent where nobody has noted it.
pub fn start_path(shard: &Shard) -> String {
    format!("{}/start", folder(shard))
}

/// The position of the checkpoint at `path`; `None` for other objects.
pub fn position_of(path: &str) -> Option<Offset> {
    let name = path.rsplit_once('/')?.1.strip_suffix(".ckpt")?;
    let (position, _) = name.split_once('-')?;
    if position.len() == 20 { position.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_checkpoints_tell_their_positions() {
        let folder = folder(&Shard::new("tweets", 3));
        let of = |name: &str| position_of(&format!("{folder}/{name}"));
        assert_eq!(of("00000000000000000030-883deab9b1ffc38a.ckpt"), Some(30));
        assert_eq!(of("start"), None);
        assert_eq!(of("30-883deab9b1ffc38a.ckpt"), None);
        assert_eq!(of("00000000000000000030-883deab9b1ffc38a.tmp"), None);
    }
}
