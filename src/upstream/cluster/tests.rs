//! What a cluster does with requests, on a clock that stands still.

use http::{HeaderMap, Response, StatusCode};

use crate::policy::snapshot::{Transport, UpstreamProtocol};

use super::*;
use crate::{
    clock::Clock,
    policy::{
        resilience::{
            Breaker as BreakerRule, Ejection as EjectionRule, Probes, ProviderLimits, Resilience,
            Retry,
        },
        snapshot::Target,
    },
    telemetry::EndpointCell,
    upstream::Verdict,
};

const BREAKER: BreakerRule =
    BreakerRule { failures: 2, within: Duration::from_secs(30), open_for: Duration::from_secs(15) };
const EJECTION: EjectionRule = EjectionRule {
    failures: 2,
    shortest: Duration::from_secs(30),
    longest: Duration::from_secs(300),
    panic: Percent::whole(25),
};

/// A cluster, its clock and the policy's word on it.
struct Scene {
    cluster: Arc<Cluster>,
    clock: Clock,
    upstream: Upstream,
    generation: u64,
}

impl Scene {
    fn of(endpoints: u16) -> Self {
        let cluster = Cluster::new(Arc::default());
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        Self { cluster, clock, upstream: upstream(endpoints), generation: 1 }
    }

    fn members(&self) -> Arc<Members> {
        self.cluster.follow(self.generation, &self.upstream)
    }

    fn ask(&self, among: &'static [Whose]) -> Ask<'_> {
        let now = self.clock.now();
        Ask { upstream: &self.upstream, among, tried: 0, now, random: 0 }
    }

    fn begin(&self) -> Result<Attempt, Closed> {
        self.members().begin(&self.ask(&[]))
    }

    /// One attempt that goes so; where it went.
    fn goes(&self, verdict: Verdict) -> Result<Arc<str>, Closed> {
        let mut attempt = self.begin()?;
        attempt.went(verdict, &self.upstream.resilience, self.clock.now(), 0);
        Ok(Arc::clone(&attempt.endpoint().name))
    }

    /// Several attempts that fail at the endpoint at `index`.
    fn fails_at(&self, index: usize, times: usize) {
        let members = self.members();
        for _ in 0..times {
            let way = self.upstream.resilience.breaker.map(|_| Way::Free);
            let mut attempt = members.attempt(index, way);
            attempt.went(Verdict::Failed, &self.upstream.resilience, self.clock.now(), 0);
        }
    }

    fn cell(&self, index: usize) -> Arc<EndpointCell> {
        Arc::clone(&self.members().list[index].state.cell)
    }
}

fn upstream(endpoints: u16) -> Upstream {
    let endpoint = |number: u16| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 8_000 + number));
        Arc::new(Endpoint {
            name: format!("http://{address}").into(),
            authority: address.to_string().parse().expect("an authority"),
            target: Target::Address(address),
            secure: false,
        })
    };
    let second = Duration::from_secs(1);
    Upstream {
        endpoints: (0..endpoints).map(endpoint).collect(),
        base: String::new(),
        connect_timeout: second,
        response_timeout: second,
        idle_timeout: second,
        headers: Vec::new(),
        transport: Arc::new(Transport {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            digest: [0; 32],
        }),
        max_connections: 1,
        min_idle: 0,
        max_idle: 1,
        pool_idle_timeout: second,
        tunnels: None,
        resilience: Resilience {
            retry: Retry {
                attempts: 1,
                shortest: second,
                longest: second,
                on: vec![],
                methods: vec![],
                budget: Percent::whole(20),
            },
            breaker: None,
            ejection: (endpoints > 1).then_some(EJECTION),
            probes: Probes {
                path: None,
                every: second,
                timeout: second,
                healthy_after: 1,
                unhealthy_after: 1,
            },
            limits: ProviderLimits::Refuse,
            own_account: false,
        },
    }
}

fn asked_to_wait(status: StatusCode, seconds: u64) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", seconds.into());
    headers.insert("x-ratelimit-remaining-requests", 0.into());
    *answer.headers_mut() = headers;
    answer
}

#[test]
fn requests_go_where_the_fewest_are_until_they_end() {
    let scene = Scene::of(3);

    let held: Vec<_> = (0..3).map(|_| scene.begin().expect("a place")).collect();

    let names: std::collections::HashSet<_> =
        held.iter().map(|attempt| Arc::clone(&attempt.endpoint().name)).collect();
    assert_eq!(names.len(), 3, "each has one");
    assert_eq!(scene.cell(1).in_flight.value(), 1);
    drop(held);
    assert_eq!(scene.cell(1).in_flight.value(), 0);
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_passed_over_for_a_while() {
    let scene = Scene::of(2);

    scene.fails_at(0, 2);

    let second = Arc::clone(&scene.upstream.endpoints[1].name);
    assert_eq!(scene.goes(Verdict::Answered), Ok(Arc::clone(&second)));
    assert_eq!(scene.cell(0).ejections.value(), 1);
    scene.clock.advance(EJECTION.shortest);
    let first = Arc::clone(&scene.upstream.endpoints[0].name);
    assert_eq!(scene.goes(Verdict::Failed), Ok(first), "it gets its chance");
    assert_eq!(scene.goes(Verdict::Answered), Ok(second), "and loses it with one failure");
    assert_eq!(scene.cell(0).ejections.value(), 2);
}

#[test]
fn when_all_are_ejected_one_is_tried_all_the_same() {
    let scene = Scene::of(2);
    scene.fails_at(0, 2);
    scene.fails_at(1, 2);
    assert!(scene.goes(Verdict::Answered).is_ok());
}

#[test]
fn an_open_circuit_refuses_until_a_trial_succeeds() {
    let mut scene = Scene::of(1);
    scene.upstream.resilience.breaker = Some(BREAKER);
    assert!(scene.goes(Verdict::Failed).is_ok());
    assert!(scene.goes(Verdict::Failed).is_ok());

    let closed = |wait| Err(Closed { wait, why: Why::Circuit });
    assert_eq!(scene.goes(Verdict::Answered), closed(BREAKER.open_for));
    assert_eq!(scene.cell(0).circuit.value(), 2);
    scene.clock.advance(BREAKER.open_for);
    let trial = scene.begin().expect("one may try");
    assert_eq!(scene.cell(0).circuit.value(), 1);
    assert_eq!(scene.goes(Verdict::Answered), closed(Duration::from_secs(1)));
    drop(trial);
    assert_eq!(scene.cell(0).circuit.value(), 2, "nobody learnt anything");
    assert!(scene.goes(Verdict::Answered).is_ok());
    assert_eq!(scene.cell(0).circuit.value(), 0);
    assert!(scene.goes(Verdict::Answered).is_ok());
}

#[test]
fn among_several_an_open_circuit_is_just_not_chosen() {
    let mut scene = Scene::of(3);
    scene.upstream.resilience.breaker = Some(BREAKER);
    scene.fails_at(0, 2);
    scene.fails_at(2, 2);
    let second = Arc::clone(&scene.upstream.endpoints[1].name);
    for _ in 0..10 {
        assert_eq!(scene.goes(Verdict::Answered), Ok(Arc::clone(&second)));
    }
    scene.fails_at(1, 2);
    assert!(scene.begin().is_err());
}

#[test]
fn a_body_of_the_callers_own_that_fails_counts_neither_way() {
    let mut scene = Scene::of(1);
    scene.upstream.resilience.breaker = Some(BREAKER);
    for _ in 0..10 {
        assert!(scene.goes(Verdict::Unsure).is_ok());
    }
}

#[test]
fn who_asked_to_be_left_alone_is() {
    let scene = Scene::of(1);
    let whose = scene.cluster.account("chat", None);
    let attempt = scene.begin().expect("a place");
    let answer = asked_to_wait(StatusCode::SERVICE_UNAVAILABLE, 20);
    let limits = scene.upstream.resilience.limits;

    let wait = attempt.note_limits(limits, &answer, scene.clock.now(), |_| Some(whose));

    assert_eq!(wait, Some(Duration::from_secs(20)));
    scene.clock.advance(Duration::from_secs(5));
    let ask = |scene: &Scene| scene.members().begin(&scene.ask(vec![whose].leak())).map(drop);
    let closed = Closed { wait: Duration::from_secs(15), why: Why::Held };
    assert_eq!(ask(&scene), Err(closed));
    assert_eq!(scene.cell(0).quotas[0].remaining.value(), Some(0));
    assert_eq!(scene.cell(0).limited.value(), 1);
    scene.clock.advance(Duration::from_secs(15));
    assert_eq!(ask(&scene), Ok(()));
}

#[test]
fn an_answer_that_is_nobodys_fault_is_counted_and_holds_nobody() {
    let scene = Scene::of(1);
    let attempt = scene.begin().expect("a place");
    let answer = asked_to_wait(StatusCode::SERVICE_UNAVAILABLE, 20);
    let limits = scene.upstream.resilience.limits;

    attempt.note_limits(limits, &answer, scene.clock.now(), |_| None);

    assert!(!scene.members().any_held(scene.clock.now()));
    assert_eq!(scene.cell(0).limited.value(), 1);
}

#[test]
fn a_hold_of_one_account_leaves_others_alone_and_observing_refuses_nobody() {
    let mut scene = Scene::of(1);
    let whose = scene.cluster.account("chat", Some(b"key"));
    let attempt = scene.begin().expect("a place");
    let answer = asked_to_wait(StatusCode::TOO_MANY_REQUESTS, 20);
    let limits = scene.upstream.resilience.limits;
    attempt.note_limits(limits, &answer, scene.clock.now(), |of_provider| {
        assert!(of_provider);
        Some(whose)
    });

    assert!(scene.members().any_held(scene.clock.now()));
    assert!(scene.begin().is_ok(), "another one");
    let among: &'static [Whose] = vec![whose].leak();
    assert!(scene.members().begin(&scene.ask(among)).is_err());
    scene.upstream.resilience.limits = ProviderLimits::Observe;
    assert!(scene.members().begin(&scene.ask(among)).is_ok());
}

#[test]
fn a_reload_forgets_nothing_of_what_it_still_names() {
    let mut scene = Scene::of(2);
    scene.fails_at(0, 2);
    let held = scene.begin().expect("a place");

    scene.upstream = upstream(3);
    scene.generation = 2;

    let ask = scene.ask(&[]);
    let members = scene.members();
    assert!(!members.look(0, &ask).well, "still ejected");
    assert_eq!(members.look(1, &ask).load, 1, "still on its way");
    drop(held);
    assert_eq!(members.look(1, &ask).load, 0);
    scene.upstream = upstream(1);
    scene.generation = 3;
    assert!(!scene.members().are_several());
    assert_eq!(scene.cluster.known.lock().expect("unbroken").len(), 1);
}

#[test]
fn an_old_policy_still_finds_its_endpoints() {
    let scene = Scene::of(2);
    scene.cluster.follow(5, &upstream(1));

    let members = scene.members();

    assert!(members.are_several());
    assert_eq!(scene.cluster.current.load().generation, 5);
}

#[test]
fn a_rule_that_the_policy_drops_holds_nobody_any_more() {
    let mut scene = Scene::of(1);
    scene.upstream.resilience.breaker = Some(BREAKER);
    scene.fails_at(0, 2);
    assert!(scene.begin().is_err());

    scene.upstream.resilience.breaker = None;
    scene.generation = 2;

    assert!(scene.begin().is_ok());
    assert_eq!(scene.cell(0).circuit.value(), 0);
}
