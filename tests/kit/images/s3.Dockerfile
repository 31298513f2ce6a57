# The S3 server that the cluster's tests keep their data in; the build context is the folder of its binary.
FROM scratch
COPY versitygw /versitygw
USER 65532:65532
ENTRYPOINT ["/versitygw"]
