#[test]
#[ignore]
fn probe() {
    use super::*;
    for pack in Pack::ALL {
        let mut hirs = vec![];
        for s in pack.secrets() {
            for p in packs::expand(s.pattern) {
                let h = regex_syntax::ParserBuilder::new()
                    .unicode(false)
                    .utf8(false)
                    .build()
                    .parse(&p)
                    .unwrap();
                let t = std::time::Instant::now();
                let a = automaton::Automaton::build(&[&h]).map(|a| a.memory_usage() >> 10);
                let el = t.elapsed();
                hirs.push(h);
                let t = std::time::Instant::now();
                let b = automaton::Automaton::build(&hirs.iter().collect::<Vec<_>>())
                    .map(|a| a.memory_usage() >> 10);
                println!(
                    "{:?} {:?} {:?} | cum {:?} {:?} {}",
                    pack.name(),
                    a,
                    el,
                    b,
                    t.elapsed(),
                    &p[..p.len().min(90)]
                );
                if b.is_err() {
                    hirs.pop();
                }
            }
        }
    }
}
