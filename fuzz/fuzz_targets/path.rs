//! The canonical path: found once, it stays what it is.
#![no_main]

use weir::policy::path::canonical;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(path) = canonical(text) else { return };
    assert!(path.starts_with('/'), "{path:?}");
    assert_eq!(canonical(&path).as_deref(), Ok(&*path), "it is not canonical yet");
    let dots = |segment: &str| segment == "." || segment == "..";
    assert!(!path.split('/').any(dots), "{path:?} climbs");
});
