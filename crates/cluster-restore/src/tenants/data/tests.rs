use super::*;

fn plane() -> DataQuery {
    DataQuery {
        place: "alpha-1/alpha".to_owned(),
        datastore: "default".to_owned(),
        schema: "alpha".to_owned(),
        ran: true,
        kube_system_uid: Some("u".to_owned()),
    }
}

fn keys(keys: u64, uid: Option<&str>) -> SchemaKeys {
    SchemaKeys {
        keys,
        first: Some("/alpha/x".to_owned()),
        kube_system: uid.is_some(),
        kube_system_uid: uid.map(str::to_owned),
        api_servers: 0,
    }
}

fn judged(found: &SchemaKeys, known: Option<u64>, plane: &DataQuery) -> DataState {
    let looked = DatastoreSurvey(BTreeMap::from([(
        "default".to_owned(),
        Ok(BTreeMap::from([("alpha".to_owned(), found.clone())])),
    )]));
    let facts = known.map(|keys| EtcdFacts {
        total_keys: Some(keys),
        prefixes: (keys > 0)
            .then(|| ("alpha".to_owned(), keys))
            .into_iter()
            .collect(),
        ..EtcdFacts::default()
    });
    looked.judge(plane, facts.as_ref())
}

#[test]
fn data_is_judged_by_its_keys_and_by_whose_they_are() {
    let own = |keys, before| DataState::Own { keys, before };
    assert_eq!(
        judged(&keys(9, Some("u")), Some(9), &plane()),
        own(9, Some(9))
    );
    assert_eq!(
        judged(&keys(20, Some("u")), Some(9), &plane()),
        own(20, Some(9))
    );
    assert_eq!(judged(&keys(9, None), None, &plane()), own(9, None));
    assert_eq!(
        judged(&keys(4, Some("u")), Some(10), &plane()),
        DataState::Fewer {
            keys: 4,
            before: 10
        }
    );
    let gone = |before| DataState::Gone { before };
    assert_eq!(judged(&keys(0, None), Some(10), &plane()), gone(Some(10)));
    assert_eq!(judged(&keys(0, None), None, &plane()), gone(None));
    let young = DataQuery {
        ran: false,
        kube_system_uid: None,
        ..plane()
    };
    assert_eq!(judged(&keys(0, None), None, &young), DataState::None);
    assert_eq!(judged(&keys(0, None), Some(0), &young), DataState::None);
    // The tenant was created while the restore point was made.
    assert_eq!(judged(&keys(7, None), Some(0), &young), own(7, Some(0)));
    let foreign = |state| matches!(state, DataState::Foreign { .. });
    assert!(foreign(judged(&keys(9, Some("v")), Some(9), &plane())));
    assert!(foreign(judged(&keys(9, None), Some(0), &plane())));
    // The owner of the data counts more than the number of keys.
    assert_eq!(
        judged(&keys(9, Some("u")), Some(0), &plane()),
        own(9, Some(0))
    );
}

#[tokio::test]
async fn what_cannot_be_looked_into_is_never_called_good() {
    let clock: Arc<dyn Clock> = Arc::new(backup_core::clock::SystemClock);
    let way = |access| Datastore {
        name: "default".to_owned(),
        used_by: Vec::new(),
        access,
    };
    let not_checked = async |ways| {
        let homes = [DatastoreRoutes {
            name: "default".to_owned(),
            ways,
        }];
        let looked = survey_datastores(&homes, &[plane()], &clock).await;
        match looked.judge(&plane(), None) {
            DataState::NotChecked { why } => why,
            other => panic!("{other:?}"),
        }
    };
    assert!(not_checked(Vec::new()).await.contains("no such DataStore"));
    let driver = "PostgreSQL".to_owned();
    let other = way(DatastoreAccess::NotCovered { driver });
    let cause = "Secret a/b is missing".to_owned();
    let broken = way(DatastoreAccess::Broken { cause });
    let why = not_checked(vec![other, broken]).await;
    assert!(
        why.contains("PostgreSQL") && why.contains("a/b is missing"),
        "{why}"
    );
}
