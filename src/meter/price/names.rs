//! The names that one model goes by.
//!
//! Answers name a model as their provider likes: `openai/gpt-4o`, `models/gemini-2.5-pro`,
//! `eu.anthropic.claude-sonnet-4-5-20250929-v1:0`, `gpt-4o-mini-2024-07-18`. [`find`] tries
//! a lookup with ever less of a name, most exact first:
//!
//! 1. the name as it is;
//! 2. without what says where it runs: an ARN, `projects/…/models/`, hosts such as
//!    `azure/`, a region and a maker in the dots of Bedrock;
//! 3. all of these again without a version or a date at the end.
//!
//! Nothing else is taken off: `ft:` (a fine-tuned model is dearer than its base), `:free`,
//! `-preview`, `-latest` and hosts that are not known make other models.
//!
//! # Limits
//! Names longer than [`MAX_NAME`] bytes are names of no model. Letters of ASCII count the
//! same in either case.

/// The longest name of a model, in bytes; as in the policy.
pub(super) const MAX_NAME: usize = 200;
/// Regions that Bedrock puts before a name. Where one has no price, that of `us.` is tried: it has the same surcharge.
const REGIONS: [&str; 7] = ["us.", "eu.", "apac.", "jp.", "au.", "us-gov.", "global."];
/// Makers that Bedrock puts before a name.
const MAKERS: [&str; 13] = [
    "ai21.",
    "amazon.",
    "anthropic.",
    "cohere.",
    "deepseek.",
    "meta.",
    "minimax.",
    "mistral.",
    "moonshot.",
    "moonshotai.",
    "openai.",
    "xai.",
    "zai.",
];

/// A name in lower case, on the stack.
struct Folded {
    bytes: [u8; MAX_NAME],
    length: usize,
}

impl Folded {
    fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; MAX_NAME];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        bytes.make_ascii_lowercase();
        Some(Self { bytes, length: name.len() })
    }

    fn as_str(&self) -> &str {
        // Only letters of ASCII were changed, so it is UTF-8 still.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// Tries `lookup` with the name and with ever less of it; `hosts` are what stands before a slash.
pub(super) fn find<T>(
    name: &str,
    hosts: &[&str],
    mut lookup: impl FnMut(&str) -> Option<T>,
) -> Option<T> {
    let folded = Folded::new(name)?;
    let mut whole = folded.as_str();
    loop {
        if let Some(found) = without_place(whole, hosts, &mut lookup) {
            return Some(found);
        }
        whole = undated(whole)?;
    }
}

/// Tries the name, and what remains when one after the other is taken off its front.
fn without_place<T>(
    whole: &str,
    hosts: &[&str],
    lookup: &mut impl FnMut(&str) -> Option<T>,
) -> Option<T> {
    let mut name = whole;
    loop {
        let found = lookup(name).or_else(|| lookup(Respelt::of(name)?.as_str()));
        if found.is_some() {
            return found;
        }
        name = shorter(name, hosts)?;
    }
}

/// The name without the first thing that says where it runs.
fn shorter<'n>(name: &'n str, hosts: &[&str]) -> Option<&'n str> {
    if name.starts_with("arn:aws") {
        let (kind, id) = name.split_once('/')?;
        return (kind.ends_with(":foundation-model") || kind.ends_with(":inference-profile"))
            .then_some(id);
    }
    if name.starts_with("projects/") || name.starts_with("publishers/") {
        return name.split_once("/models/").map(|(_, id)| id);
    }
    if let Some((host, rest)) = name.split_once('/') {
        return hosts.binary_search(&host).is_ok().then_some(rest);
    }
    let dotted = |start: &&&str| name.starts_with(**start);
    let start = REGIONS.iter().find(dotted).or_else(|| MAKERS.iter().find(dotted))?;
    name.get(start.len()..)
}

/// Another spelling of the same name: of a region's sibling, or with dashes for dots as Anthropic itself writes.
struct Respelt(Folded);

impl Respelt {
    fn of(name: &str) -> Option<Self> {
        let region = REGIONS[1..6].iter().find(|region| name.starts_with(**region));
        if let Some(rest) = region.and_then(|region| name.get(region.len()..)) {
            let mut other = Folded { bytes: [0; MAX_NAME], length: rest.len() + 3 };
            other.bytes[..3].copy_from_slice(b"us.");
            other.bytes[3..other.length].copy_from_slice(rest.as_bytes());
            return Some(Self(other));
        }
        let dotted = name.starts_with("claude-") && name.contains('.');
        let mut other = dotted.then(|| Folded::new(name)).flatten()?;
        for byte in other.bytes.iter_mut().filter(|byte| **byte == b'.') {
            *byte = b'-';
        }
        Some(Self(other))
    }

    fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The name without the version or the date at its end.
fn undated(name: &str) -> Option<&str> {
    let cut = version(name).or_else(|| date(name)).or_else(|| name.strip_suffix("@default"))?;
    (!cut.is_empty() && !cut.ends_with(['/', '.', ':'])).then_some(cut)
}

/// Takes off `-v1:0` (Bedrock), and `-001` of a Gemini model.
fn version(name: &str) -> Option<&str> {
    let (head, last) = name.rsplit_once('-')?;
    if let Some((major, minor)) = last.strip_prefix('v').and_then(|rest| rest.split_once(':')) {
        return (is_number(major, 1..=2) && is_number(minor, 1..=2)).then_some(head);
    }
    (is_number(last, 3..=3) && head.contains("gemini-")).then_some(head)
}

/// Takes off `-2024-07-18`, `-20250929` or `@20250929`.
fn date(name: &str) -> Option<&str> {
    if let Some((head, last)) = name.rsplit_once(['-', '@'])
        && is_number(last, 8..=8)
        && last.starts_with("20")
    {
        return Some(head);
    }
    let (rest, day) = name.rsplit_once('-')?;
    let (rest, month) = rest.rsplit_once('-')?;
    let (head, year) = rest.rsplit_once('-')?;
    let is_date = is_number(year, 4..=4) && is_number(month, 2..=2) && is_number(day, 2..=2);
    is_date.then_some(head)
}

fn is_number(text: &str, digits: std::ops::RangeInclusive<usize>) -> bool {
    digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 4] = ["azure", "models", "openai", "vertex_ai"];

    /// All that is tried for a name, in order.
    fn tried(name: &str) -> Vec<String> {
        let mut all = Vec::new();
        find(name, &HOSTS, |name| -> Option<()> {
            all.push(name.to_owned());
            None
        });
        all
    }

    #[test]
    fn a_name_is_tried_whole_then_without_its_host_then_without_its_date() {
        assert_eq!(
            tried("openai/gpt-4o-2024-07-18"),
            ["openai/gpt-4o-2024-07-18", "gpt-4o-2024-07-18", "openai/gpt-4o", "gpt-4o",]
        );
    }

    #[test]
    fn the_dots_of_bedrock_are_taken_off_one_by_one() {
        assert_eq!(
            tried("eu.anthropic.claude-x-20270101-v1:0"),
            [
                "eu.anthropic.claude-x-20270101-v1:0",
                "us.anthropic.claude-x-20270101-v1:0",
                "anthropic.claude-x-20270101-v1:0",
                "claude-x-20270101-v1:0",
                "eu.anthropic.claude-x-20270101",
                "us.anthropic.claude-x-20270101",
                "anthropic.claude-x-20270101",
                "claude-x-20270101",
                "eu.anthropic.claude-x",
                "us.anthropic.claude-x",
                "anthropic.claude-x",
                "claude-x",
            ]
        );
    }

    #[test]
    fn the_long_names_of_clouds_lead_to_the_model() {
        for (name, last) in [
            ("models/gemini-2.0-flash-001", "gemini-2.0-flash"),
            ("projects/p/locations/eu/publishers/anthropic/models/claude-x@20250929", "claude-x"),
            ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("arn:aws:bedrock:us-east-1::foundation-model/meta.llama-v1:0", "llama"),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova", "nova"),
            ("claude-sonnet-4.5", "claude-sonnet-4-5"),
            ("claude-x@default", "claude-x"),
        ] {
            assert_eq!(tried(name).last().map(String::as_str), Some(last), "{name}");
        }
    }

    #[test]
    fn nothing_else_is_taken_off() {
        for name in [
            "ft:gpt-4o-mini-2024-07-18:us::id",
            "mallory/gpt-4o",
            "gpt-4o:free",
            "gpt-4o-latest",
            "gpt-4-0613",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
            "o3-2025-4-16",
            "x-99999999",
            "",
        ] {
            assert_eq!(tried(name), [name], "{name}");
        }
    }

    #[test]
    fn hostile_names_end_soon_and_never_empty() {
        let names = [
            "-2024-01-01".repeat(18),
            "openai/".repeat(28),
            "us.".repeat(66),
            "azure/-v1:0".to_owned(),
            "é".repeat(100),
            "\u{0}/./../@20240101".to_owned(),
            "claude-\u{1F4A9}.20240101".to_owned(),
            "models/".to_owned(),
        ];
        for name in names {
            let tried = tried(&name);
            assert!(tried.len() < 2_000, "{name}");
        }
        assert_eq!(tried(&"x".repeat(MAX_NAME + 1)), Vec::<String>::new());
    }
}
