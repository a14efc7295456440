//! Reads a unit file of systemd: sections, and settings that may come more than once.

/// A unit file.
pub struct Unit(Vec<Setting>);

struct Setting {
    section: String,
    name: String,
    value: String,
}

impl Unit {
    pub fn parse(text: &str) -> Self {
        let mut settings = Vec::new();
        let mut section = String::new();
        let told = |line: &&str| !line.is_empty() && !line.starts_with('#');
        for line in text.lines().map(str::trim).filter(told) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.to_owned();
                continue;
            }
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}: no value"));
            let (name, value) = (name.to_owned(), value.to_owned());
            settings.push(Setting { section: section.clone(), name, value });
        }
        Self(settings)
    }

    /// Every value of a setting in `[Service]`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let wanted = move |setting: &&Setting| setting.section == "Service" && setting.name == name;
        self.0.iter().filter(wanted).map(|setting| setting.value.as_str())
    }

    /// The value of a setting in `[Service]` that is there once.
    pub fn one(&self, name: &str) -> &str {
        let mut all = self.all(name);
        let first = all.next().unwrap_or_else(|| panic!("no {name}="));
        assert!(all.next().is_none(), "more than one {name}=");
        first
    }
}

#[test]
fn settings_are_found_in_their_section() {
    let unit = Unit::parse("# a\n[Unit]\nA=1\n[Service]\nA=2\nB=x=y\nB=z\n");
    assert_eq!(unit.one("A"), "2");
    assert_eq!(unit.all("B").collect::<Vec<_>>(), ["x=y", "z"]);
}
