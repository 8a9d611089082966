//! Where the built web page lies.

use std::path::{Path, PathBuf};

/// In the working folder of a checkout.
const CHECKOUT: &str = "dashboards/web/dist";

/// The folder that the page is served from: the one that is configured, or the first with a page in it of those where an
/// installation or a checkout has it. Where none has one, a page that is built later in a checkout is found without a
/// restart.
pub fn folder(configured: Option<&Path>) -> PathBuf {
    if let Some(folder) = configured {
        if !has_page(folder) {
            tracing::warn!(folder = %folder.display(), "serve.web: there is no index.html in this folder");
        }
        return folder.to_path_buf();
    }
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(installed).unwrap_or_default();
    let checkout = PathBuf::from(CHECKOUT);
    beside.into_iter().find(|folder| has_page(folder)).unwrap_or(checkout)
}

/// Where a page is installed with a program in `folder`.
fn installed(folder: &Path) -> Vec<PathBuf> {
    vec![folder.join("web"), folder.join("../share/tideline/web")]
}

fn has_page(folder: &Path) -> bool {
    folder.join("index.html").is_file()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_folder_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(super::folder(Some(folder.path())), folder.path());
        assert_eq!(super::folder(Some(Path::new("/nowhere"))), Path::new("/nowhere"));
    }

    #[test]
    fn a_program_has_its_page_beside_it_or_in_share() {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let found = || installed(&bin).into_iter().find(|folder| has_page(folder));
        assert_eq!(found(), None);
        let share = root.path().join("share/tideline/web");
        std::fs::create_dir_all(&share).unwrap();
        std::fs::write(share.join("index.html"), "shared").unwrap();
        assert_eq!(std::fs::read(found().unwrap().join("index.html")).unwrap(), b"shared");
        std::fs::create_dir(bin.join("web")).unwrap();
        std::fs::write(bin.join("web/index.html"), "beside").unwrap();
        assert_eq!(found().unwrap(), bin.join("web"));
    }
}
