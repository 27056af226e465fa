import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.sts.StsClient;

/** The AWS SDK for Java as most programs use it; a round of calls for each line of input, see ../python/rounds.py. */
public final class Client {
    private final String bucket;
    private final String key;
    private S3Client s3;
    private StsClient sts;

    private Client(String bucket, String key) {
        this.bucket = bucket;
        this.key = key;
    }

    public static void main(String[] arguments) throws IOException {
        var client = new Client(arguments[0], arguments[1]);
        var input = new BufferedReader(new InputStreamReader(System.in));
        while (input.readLine() != null) {
            try {
                client.round();
                System.out.println("ok");
            } catch (RuntimeException error) {
                System.out.println("error: " + error.toString().replaceAll("\\s+", " "));
            }
        }
    }

    private void round() {
        if (s3 == null) {
            // Here and not at the start: they ask for the region when they are built, and throw without one.
            s3 = S3Client.create();
            sts = StsClient.create();
        }
        s3.putObject(request -> request.bucket(bucket).key(key), RequestBody.fromString("java"));
        var got = s3.getObjectAsBytes(request -> request.bucket(bucket).key(key)).asUtf8String();
        if (!got.equals("java")) {
            throw new IllegalStateException("got " + got);
        }
        s3.listBuckets();
        sts.getCallerIdentity();
    }
}
