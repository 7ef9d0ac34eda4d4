import java.io.BufferedReader;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own clients, driven by lines: one request a line on standard input, its fields parted by
 * tabs; one reply a line on standard output, "ok" or "error" and its fields. Records travel in files
 * ({@link RecordFile}). The process ends when its input does. Arguments: the bootstrap servers, and
 * KEY=VALUE of settings that override those below.
 *
 * <pre>
 * create TOPIC PARTITIONS [KEY=VALUE]...
 * grow TOPIC PARTITIONS
 * delete TOPIC
 * delete-records TOPIC PARTITION=OFFSET...    those before the offset
 * partitions TOPIC                           how many partitions have a leader; 0 for no topic
 * out-of-sync                                how many partitions, of all topics, lack a replica
 * produce FILE TOPIC plain|commit|abort|open all but plain: all records in one transaction
 * end commit|abort                           the transaction that was left open
 * consume FILE TOPIC ISOLATION               up to the end offsets at the time of the request
 * end-offsets TOPIC ISOLATION                PARTITION=OFFSET...
 * committed GROUP TOPIC                      PARTITION=OFFSET... of those that have one
 * commit GROUP TOPIC PARTITION=OFFSET...     for a group without members
 * members GROUP                              the ids of the members that read, once the group is settled; else none
 * configure-group GROUP KEY=VALUE...
 * refuse TOPIC OPERATION                     to everyone, by an ACL; all else stays allowed
 * admit USER PASSWORD                        by SCRAM-SHA-512
 * </pre>
 */
public final class Driver {
    private static final int DEADLINE_MS = 60_000;
    private static final Duration POLL = Duration.ofMillis(200);

    private final String bootstrap;
    private final List<String> overrides;
    private final Admin admin;
    /** Kept open: a load of many small requests would otherwise be a load of producers. */
    private KafkaProducer<byte[], byte[]> plain;
    /** Has a transaction open. */
    private KafkaProducer<byte[], byte[]> open;

    private Driver(String bootstrap, List<String> overrides) {
        this.bootstrap = bootstrap;
        this.overrides = overrides;
        this.admin = Admin.create(settings());
    }

    public static void main(String[] args) throws IOException {
        PrintStream replies = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        Driver driver = new Driver(args[0], List.of(args).subList(1, args.length));
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            replies.println(driver.reply(List.of(line.split("\t", -1))));
        }
        Runtime.getRuntime().halt(0);
    }

    private String reply(List<String> request) {
        try {
            List<String> fields = new ArrayList<>(List.of("ok"));
            fields.addAll(run(request.get(0), request.subList(1, request.size())));
            return String.join("\t", fields);
        } catch (Exception error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            return "error\t" + cause.toString().replaceAll("[\\r\\n\\t]+", " ");
        }
    }

    private List<String> run(String command, List<String> args) throws Exception {
        switch (command) {
            case "create":
                return create(args.get(0), Integer.parseInt(args.get(1)), args.subList(2, args.size()));
            case "grow":
                NewPartitions partitions = NewPartitions.increaseTo(Integer.parseInt(args.get(1)));
                await(admin.createPartitions(Map.of(args.get(0), partitions)).all());
                return List.of();
            case "delete":
                await(admin.deleteTopics(List.of(args.get(0))).all());
                return List.of();
            case "delete-records":
                return deleteRecords(args.get(0), args.subList(1, args.size()));
            case "partitions":
                return List.of(Long.toString(led(args.get(0))));
            case "out-of-sync":
                return List.of(Long.toString(outOfSync()));
            case "produce":
                return produce(Path.of(args.get(0)), args.get(1), args.get(2));
            case "end":
                try (KafkaProducer<byte[], byte[]> producer = open) {
                    end(producer, args.get(0));
                }
                return List.of();
            case "consume":
                return consume(Path.of(args.get(0)), args.get(1), args.get(2));
            case "end-offsets":
                return byPartition(endOffsets(args.get(0), args.get(1)));
            case "committed":
                return committed(args.get(0), args.get(1));
            case "commit":
                return commit(args.get(0), args.get(1), args.subList(2, args.size()));
            case "members":
                return members(args.get(0));
            case "configure-group":
                return configureGroup(args.get(0), args.subList(1, args.size()));
            case "refuse":
                return refuse(args.get(0), AclOperation.fromString(args.get(1)));
            case "admit":
                ScramCredentialInfo info = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096);
                await(admin.alterUserScramCredentials(
                        List.of(new UserScramCredentialUpsertion(args.get(0), info, args.get(1)))).all());
                return List.of();
            default:
                throw new IllegalArgumentException("no such command: " + command);
        }
    }

    private List<String> create(String topic, int partitions, List<String> settings) throws Exception {
        Map<String, String> configs = new HashMap<>();
        for (String setting : settings) {
            String[] pair = setting.split("=", 2);
            configs.put(pair[0], pair[1]);
        }
        NewTopic created = new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(configs);
        await(admin.createTopics(List.of(created)).all());
        return List.of();
    }

    private List<String> deleteRecords(String topic, List<String> offsets) throws Exception {
        Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
        parse(topic, offsets).forEach((partition, offset) ->
                before.put(partition, RecordsToDelete.beforeOffset(offset)));
        await(admin.deleteRecords(before).all());
        return List.of();
    }

    private List<String> members(String group) throws Exception {
        try {
            ConsumerGroupDescription described =
                    await(admin.describeConsumerGroups(List.of(group)).describedGroups().get(group));
            return described.groupState() != GroupState.STABLE ? List.of() : described.members().stream()
                    .filter(member -> !member.assignment().topicPartitions().isEmpty())
                    .map(member -> member.consumerId())
                    .sorted()
                    .toList();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof GroupIdNotFoundException) {
                return List.of();
            }
            throw error;
        }
    }

    private List<String> configureGroup(String group, List<String> settings) throws Exception {
        List<AlterConfigOp> operations = new ArrayList<>();
        for (String setting : settings) {
            String[] pair = setting.split("=", 2);
            operations.add(new AlterConfigOp(new ConfigEntry(pair[0], pair[1]), AlterConfigOp.OpType.SET));
        }
        ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
        await(admin.incrementalAlterConfigs(Map.of(resource, operations)).all());
        return List.of();
    }

    private List<String> refuse(String topic, AclOperation operation) throws Exception {
        ResourcePattern resource = new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL);
        AccessControlEntry all = new AccessControlEntry("User:*", "*", AclOperation.ALL, AclPermissionType.ALLOW);
        AccessControlEntry one = new AccessControlEntry("User:*", "*", operation, AclPermissionType.DENY);
        await(admin.createAcls(List.of(new AclBinding(resource, all), new AclBinding(resource, one))).all());
        return List.of();
    }

    private long led(String topic) throws Exception {
        try {
            List<TopicPartitionInfo> partitions =
                    await(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions();
            return partitions.stream().filter(p -> p.leader() != null && !p.leader().isEmpty()).count();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof UnknownTopicOrPartitionException) {
                return 0;
            }
            throw error;
        }
    }

    private long outOfSync() throws Exception {
        Set<String> topics = await(admin.listTopics(new ListTopicsOptions().listInternal(true)).names());
        return await(admin.describeTopics(topics).allTopicNames()).values().stream()
                .flatMap(topic -> topic.partitions().stream())
                .filter(partition -> partition.isr().size() < partition.replicas().size())
                .count();
    }

    private List<String> produce(Path file, String topic, String ending) throws Exception {
        if (ending.equals("plain")) {
            if (plain == null) {
                plain = producer(null);
            }
            send(plain, file, topic);
            return List.of();
        }
        if (ending.equals("open")) {
            open = producer("driver-" + UUID.randomUUID());
            begin(open, file, topic);
            return List.of();
        }
        try (KafkaProducer<byte[], byte[]> producer = producer("driver-" + UUID.randomUUID())) {
            begin(producer, file, topic);
            end(producer, ending);
        }
        return List.of();
    }

    /** Returns once all records are in the log, so that an aborted one too was there first. */
    private static void begin(KafkaProducer<byte[], byte[]> producer, Path file, String topic) throws Exception {
        producer.initTransactions();
        producer.beginTransaction();
        send(producer, file, topic);
    }

    private static void end(KafkaProducer<byte[], byte[]> producer, String ending) {
        if (ending.equals("commit")) {
            producer.commitTransaction();
        } else {
            producer.abortTransaction();
        }
    }

    /** Returns once all records are acknowledged. */
    private static void send(KafkaProducer<byte[], byte[]> producer, Path file, String topic) throws Exception {
        AtomicReference<Exception> failure = new AtomicReference<>();
        RecordFile.read(file, topic, record -> producer.send(record, (metadata, error) -> {
            if (error != null) {
                failure.compareAndSet(null, error);
            }
        }));
        producer.flush();
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    private KafkaProducer<byte[], byte[]> producer(String transactionalId) {
        Properties settings = settings();
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        // A broker that has not heard of a new topic yet refuses one request, and would take the next before it.
        settings.put("max.in.flight.requests.per.connection", "1");
        settings.put("max.request.size", Integer.toString(64 << 20));
        settings.put("delivery.timeout.ms", Integer.toString(DEADLINE_MS));
        if (transactionalId != null) {
            settings.put("transactional.id", transactionalId);
            settings.put("transaction.timeout.ms", Integer.toString(5 * DEADLINE_MS)); // One stays open as long as a test is slow.
        }
        ByteArraySerializer bytes = new ByteArraySerializer();
        return new KafkaProducer<>(settings, bytes, bytes);
    }

    /** One partition after the other, so the file is in order of partition and offset. */
    private List<String> consume(Path file, String topic, String isolation) throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(isolation);
                DataOutputStream out = RecordFile.create(file)) {
            for (Map.Entry<TopicPartition, Long> end : endOffsets(topic, isolation).entrySet()) {
                consumer.assign(List.of(end.getKey()));
                consumer.seekToBeginning(List.of(end.getKey()));
                consumePartition(consumer, end.getKey(), end.getValue(), out);
            }
        }
        return List.of();
    }

    /** The position, not the records, tells the end: the last offsets may be markers or aborted. */
    private void consumePartition(
            KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, long end, DataOutputStream out)
            throws IOException {
        long position = consumer.position(partition);
        long moved = System.nanoTime();
        while (position < end) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                if (record.offset() < end) {
                    RecordFile.write(out, record);
                }
            }
            long now = consumer.position(partition);
            if (now != position) {
                position = now;
                moved = System.nanoTime();
            } else if (System.nanoTime() - moved > TimeUnit.MILLISECONDS.toNanos(DEADLINE_MS)) {
                throw new IOException(partition + " stands at " + position + " of " + end);
            }
        }
    }

    private Map<TopicPartition, Long> endOffsets(String topic, String isolation) throws Exception {
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        await(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().forEach(partition ->
                wanted.put(new TopicPartition(topic, partition.partition()), OffsetSpec.latest()));
        IsolationLevel level = IsolationLevel.valueOf(isolation.toUpperCase(Locale.ROOT));
        TreeMap<TopicPartition, Long> ends = new TreeMap<>((a, b) -> Integer.compare(a.partition(), b.partition()));
        await(admin.listOffsets(wanted, new ListOffsetsOptions(level)).all()).forEach((partition, end) ->
                ends.put(partition, end.offset()));
        return ends;
    }

    private List<String> committed(String group, String topic) throws Exception {
        Map<TopicPartition, Long> offsets = new HashMap<>();
        await(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).forEach((partition, offset) -> {
            if (partition.topic().equals(topic) && offset != null) {
                offsets.put(partition, offset.offset());
            }
        });
        return byPartition(offsets);
    }

    private List<String> commit(String group, String topic, List<String> offsets) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> commits = new HashMap<>();
        parse(topic, offsets).forEach((partition, offset) -> commits.put(partition, new OffsetAndMetadata(offset)));
        await(admin.alterConsumerGroupOffsets(group, commits).all());
        return List.of();
    }

    private KafkaConsumer<byte[], byte[]> consumer(String isolation) {
        Properties settings = settings();
        settings.put("isolation.level", isolation);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        settings.put("allow.auto.create.topics", "false");
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        return new KafkaConsumer<>(settings, bytes, bytes);
    }

    private Properties settings() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("request.timeout.ms", "20000");
        settings.put("default.api.timeout.ms", Integer.toString(DEADLINE_MS));
        for (String override : overrides) {
            String[] pair = override.split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        return settings;
    }

    private static Map<TopicPartition, Long> parse(String topic, List<String> offsets) {
        Map<TopicPartition, Long> parsed = new HashMap<>();
        for (String offset : offsets) {
            long[] pair = Arrays.stream(offset.split("=", 2)).mapToLong(Long::parseLong).toArray();
            parsed.put(new TopicPartition(topic, (int) pair[0]), pair[1]);
        }
        return parsed;
    }

    private static List<String> byPartition(Map<TopicPartition, Long> offsets) {
        List<String> fields = new ArrayList<>();
        offsets.forEach((partition, offset) -> fields.add(partition.partition() + "=" + offset));
        return fields;
    }

    private static <T> T await(Future<T> future) throws Exception {
        return future.get(DEADLINE_MS, TimeUnit.MILLISECONDS);
    }
}
