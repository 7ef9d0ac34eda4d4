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
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own clients, driven by lines: one request a line on standard input, its fields parted by
 * tabs; one reply a line on standard output, "ok" or "error" and its fields. Records travel in files
 * ({@link RecordFile}). The process ends when its input does. Argument: the bootstrap servers.
 *
 * <pre>
 * create TOPIC PARTITIONS [KEY=VALUE]...
 * delete TOPIC
 * partitions TOPIC                           how many partitions have a leader; 0 for no topic
 * produce FILE TOPIC plain|commit|abort      commit and abort: all records in one transaction
 * consume FILE TOPIC ISOLATION               up to the end offsets at the time of the request
 * end-offsets TOPIC ISOLATION                PARTITION=OFFSET...
 * committed GROUP TOPIC                      PARTITION=OFFSET... of those that have one
 * commit GROUP TOPIC PARTITION=OFFSET...     for a group without members
 * refuse TOPIC OPERATION                     to everyone, by an ACL; all else stays allowed
 * </pre>
 */
public final class Driver {
    private static final int DEADLINE_MS = 60_000;
    private static final Duration POLL = Duration.ofMillis(200);

    private final String bootstrap;
    private final Admin admin;

    private Driver(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(settings());
    }

    public static void main(String[] args) throws IOException {
        PrintStream replies = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        Driver driver = new Driver(args[0]);
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
            case "delete":
                await(admin.deleteTopics(List.of(args.get(0))).all());
                return List.of();
            case "partitions":
                return List.of(Long.toString(led(args.get(0))));
            case "produce":
                return produce(Path.of(args.get(0)), args.get(1), args.get(2));
            case "consume":
                return consume(Path.of(args.get(0)), args.get(1), args.get(2));
            case "end-offsets":
                try (KafkaConsumer<byte[], byte[]> consumer = consumer(args.get(1))) {
                    return byPartition(endOffsets(consumer, args.get(0)));
                }
            case "committed":
                return committed(args.get(0), args.get(1));
            case "commit":
                return commit(args.get(0), args.get(1), args.subList(2, args.size()));
            case "refuse":
                return refuse(args.get(0), AclOperation.fromString(args.get(1)));
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
        await(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all());
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

    private List<String> produce(Path file, String topic, String ending) throws Exception {
        Properties settings = settings();
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        settings.put("max.request.size", Integer.toString(64 << 20));
        settings.put("delivery.timeout.ms", Integer.toString(DEADLINE_MS));
        boolean transaction = !ending.equals("plain");
        if (transaction) {
            settings.put("transactional.id", "driver-" + UUID.randomUUID());
        }
        ByteArraySerializer bytes = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, bytes, bytes)) {
            if (transaction) {
                producer.initTransactions();
                producer.beginTransaction();
            }
            AtomicReference<Exception> failure = new AtomicReference<>();
            RecordFile.read(file, topic, record -> producer.send(record, (metadata, error) -> {
                if (error != null) {
                    failure.compareAndSet(null, error);
                }
            }));
            producer.flush(); // So that an aborted record too was in the log first.
            if (failure.get() != null) {
                throw failure.get();
            }
            if (ending.equals("commit")) {
                producer.commitTransaction();
            } else if (ending.equals("abort")) {
                producer.abortTransaction();
            }
        }
        return List.of();
    }

    /** One partition after the other, so the file is in order of partition and offset. */
    private List<String> consume(Path file, String topic, String isolation) throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(isolation);
                DataOutputStream out = RecordFile.create(file)) {
            for (Map.Entry<TopicPartition, Long> end : endOffsets(consumer, topic).entrySet()) {
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

    private Map<TopicPartition, Long> endOffsets(KafkaConsumer<byte[], byte[]> consumer, String topic) {
        List<TopicPartition> partitions = new ArrayList<>();
        consumer.partitionsFor(topic).forEach(p -> partitions.add(new TopicPartition(topic, p.partition())));
        if (partitions.isEmpty()) {
            throw new UnknownTopicOrPartitionException("no such topic: " + topic);
        }
        TreeMap<TopicPartition, Long> ends = new TreeMap<>((a, b) -> Integer.compare(a.partition(), b.partition()));
        ends.putAll(consumer.endOffsets(partitions));
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
        for (String offset : offsets) {
            long[] pair = Arrays.stream(offset.split("=", 2)).mapToLong(Long::parseLong).toArray();
            commits.put(new TopicPartition(topic, (int) pair[0]), new OffsetAndMetadata(pair[1]));
        }
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
        return settings;
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
