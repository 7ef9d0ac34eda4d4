//! What follows from each of librdkafka's errors, in one table.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use sluicegate_core::{Error, ErrorKind};

use crate::properties;

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Librdkafka, or the call itself, tries again while its time is not up; after that the worker is replaced.
    TryAgain,
    /// The same; nobody answers, which at the first start is most likely a wrong address.
    TryAgainToReach,
    /// The same; a broker does not let us in, which at the first start is most likely a wrong password.
    TryAgainToLogIn,
    /// The worker aborts, goes back to the committed offsets and goes on, as the same member and with the same producer.
    Rewind,
    /// The worker is replaced, with its consumer and its producer.
    Replace,
    /// Stop: the configuration, or what the cluster's owner has to set up.
    Mend,
    /// Stop: somebody else does this work.
    Yield,
}

/// The table.
pub(crate) fn consequence(code: RDKafkaErrorCode) -> Consequence {
    use Consequence::*;
    use RDKafkaErrorCode::*;
    match code {
        BrokerTransportFailure | AllBrokersDown | Resolve | BrokerNotAvailable => TryAgainToReach,
        // A connection that is lost while it is set up may look like this, too.
        Authentication | SaslAuthenticationFailed | SSL => TryAgainToLogIn,
        // Time is up, or a connection is lost.
        OperationTimedOut | RequestTimedOut | NetworkException | BrokerDestroy | DestroyBroker => TryAgain,
        // Leaders and coordinators on the move.
        NotLeaderForPartition | LeaderNotAvailable | OffsetNotAvailable | KafkaStorageError => TryAgain,
        CoordinatorNotAvailable | CoordinatorLoadInProgress | NotCoordinator | WaitingForCoordinator => TryAgain,
        // A transaction is about to end, somebody's or this one's.
        ConcurrentTransactions | UnstableOffsetCommit => TryAgain,
        // Librdkafka joins again by itself.
        PollExceeded => TryAgain,
        // The group is between two generations, or went on without this member.
        IllegalGeneration | RebalanceInProgress | UnknownMemberId | StaleMemberEpoch | FencedMemberEpoch => Rewind,
        UnknownTopic | UnknownTopicOrPartition | UnknownPartition | InvalidTopic => Mend,
        TopicAuthorizationFailed | GroupAuthorizationFailed | ClusterAuthorizationFailed => Mend,
        TransactionalIdAuthorizationFailed => Mend,
        UnsupportedSASLMechanism => Mend,
        MessageSizeTooLarge | InvalidTimestamp | PolicyViolation => Mend,
        InvalidRecord | InvalidDifferentRecord => Mend,
        InvalidTransactionTimeout | InvalidSessionTimeout | InconsistentGroupProtocol => Mend,
        UnsupportedVersion | UnsupportedFeature | InvalidConfig | InvalidArgument => Mend,
        AutoOffsetReset | OffsetOutOfRange => Mend,
        Fenced | ProducerFenced | InvalidProducerEpoch | FencedInstanceId => Yield,
        // A fatal state of this client, and whatever nobody foresaw.
        _ => Replace,
    }
}

/// The kind of an error of this code that reaches the worker.
pub(crate) fn kind(code: RDKafkaErrorCode) -> ErrorKind {
    match consequence(code) {
        Consequence::TryAgain | Consequence::Replace => ErrorKind::Retry,
        Consequence::TryAgainToReach => ErrorKind::Unreachable,
        Consequence::TryAgainToLogIn => ErrorKind::Login,
        Consequence::Rewind => ErrorKind::Rewind,
        Consequence::Mend => ErrorKind::Config,
        Consequence::Yield => ErrorKind::Promise,
    }
}

/// Whether librdkafka gets over this by itself, so that a running client need not care.
pub(crate) fn passes(code: RDKafkaErrorCode) -> bool {
    use Consequence::{TryAgain, TryAgainToLogIn, TryAgainToReach};
    matches!(consequence(code), TryAgain | TryAgainToReach | TryAgainToLogIn)
}

/// Whether a request that failed like this may have taken effect, or may still do so.
pub(crate) fn leaves_doubt(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::*;
    matches!(
        code,
        BrokerTransportFailure
            | AllBrokersDown
            | OperationTimedOut
            | RequestTimedOut
            | MessageTimedOut
            | NetworkException
            | BrokerDestroy
            | DestroyBroker
    )
}

/// What a person can do about it, as the end of a sentence; empty where there is nothing to add.
pub(crate) fn remedy(code: RDKafkaErrorCode) -> &'static str {
    use RDKafkaErrorCode::*;
    match code {
        UnknownTopic | UnknownTopicOrPartition => "; create it, e.g. with `sluicegate topics create`",
        UnknownPartition => "; `partition: same` needs at least as many partitions as the source has",
        TopicAuthorizationFailed => {
            "; the user needs the ACL operations Read and Describe on source topics, Write and Describe on output topics"
        }
        GroupAuthorizationFailed => "; the user needs the ACL operation Read on the group",
        ClusterAuthorizationFailed => "; the user needs the ACL operation IdempotentWrite on the cluster",
        TransactionalIdAuthorizationFailed => {
            "; the user needs the ACL operations Write and Describe on the transactional id"
        }
        Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism | SSL => {
            "; check security.protocol, sasl.* and ssl.* of the properties"
        }
        InvalidRecord | InvalidDifferentRecord => "; a compacted topic, for one, takes no record without a key",
        MessageSizeTooLarge => "; raise the topic's max.message.bytes",
        InvalidTransactionTimeout => "; lower transaction.timeout.ms or raise the broker's transaction.max.timeout.ms",
        AutoOffsetReset | OffsetOutOfRange => {
            "; the topic's retention passed it, or the topic was made anew: `on-missing-offset` of the source says what to \
             do then"
        }
        Fenced | ProducerFenced | InvalidProducerEpoch => {
            ": another instance with the same transactional.id took over; give each instance its own"
        }
        FencedInstanceId => ": another instance with the same group.instance.id took over",
        _ => "",
    }
}

/// An error of this code. `doing` says what was being done to what: "produce to topic 'a'".
pub(crate) fn failed(doing: &str, code: RDKafkaErrorCode) -> Error {
    Error::new(kind(code), format!("cannot {doing}: {code}{}", remedy(code)))
}

/// The same for an error of rust-rdkafka's.
pub(crate) fn failed_call(doing: &str, error: &KafkaError) -> Error {
    match (error, error.rdkafka_error_code()) {
        (KafkaError::Transaction(native), Some(code)) => {
            Error::new(kind(code), format!("cannot {doing}: {native}{}", remedy(code)))
        }
        (KafkaError::AdminOp(code), None) => failed(doing, *code),
        (_, Some(code)) => failed(doing, code),
        (KafkaError::ClientConfig(_, words, key, value), None) => {
            Error::new(ErrorKind::Config, format!("property '{key}': {}", properties::without_value(words, value)))
        }
        (KafkaError::ClientCreation(reason), None) => {
            Error::new(ErrorKind::Config, format!("cannot {doing}: {reason}"))
        }
        (error, None) => Error::new(ErrorKind::Retry, format!("cannot {doing}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_has_its_consequence() {
        use RDKafkaErrorCode::*;
        for code in [IllegalGeneration, RebalanceInProgress, UnknownMemberId, StaleMemberEpoch, FencedMemberEpoch] {
            assert_eq!(consequence(code), Consequence::Rewind, "{code}");
        }
        for code in [InvalidTransactionalState, Fatal, MessageTimedOut] {
            assert_eq!(consequence(code), Consequence::Replace, "{code}");
        }
        for code in [UnstableOffsetCommit, ConcurrentTransactions, NotCoordinator, OperationTimedOut] {
            assert!(passes(code) && kind(code) == ErrorKind::Retry, "{code}");
        }
        for code in [Authentication, SaslAuthenticationFailed, SSL] {
            assert!(passes(code) && kind(code) == ErrorKind::Login && !remedy(code).is_empty(), "{code}");
        }
        for code in [UnknownTopicOrPartition, TopicAuthorizationFailed, GroupAuthorizationFailed] {
            assert_eq!(kind(code), ErrorKind::Config, "{code}");
            assert!(!remedy(code).is_empty(), "{code}");
        }
        assert_eq!(kind(Fenced), ErrorKind::Promise);
        assert_eq!(kind(BrokerTransportFailure), ErrorKind::Unreachable);
        assert!(passes(AllBrokersDown) && !passes(TopicAuthorizationFailed) && !passes(UnknownTopicOrPartition));
    }

    #[test]
    fn a_bad_property_is_named_and_its_value_is_not_shown() {
        let bad = |key: &str, value: &str| {
            let mut config = rdkafka::ClientConfig::new();
            config.set(key, value);
            failed_call("connect", &config.create_native_config().err().unwrap())
        };
        let error = bad("no.such.property", "1");
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains("no.such.property"), "{error}");
        for key in ["sasl.password.typo", "security.protocol", "debug", "linger.ms"] {
            assert!(!bad(key, "hunter2").message.contains("hunter2"), "{key}");
        }
    }
}
